//! Credentials never leave: `user:password@` is masked in every text that is shown.

/// Replaces what stands between a scheme (or the start of a word) and `@host` by `***`.
///
/// Percent-encoded forms are covered, since everything before the last `@` of the authority goes.
///
/// # Examples
///
/// ```
/// use rs_proxy::mask_userinfo;
///
/// assert_eq!(mask_userinfo("http://user:p%40ss@proxy:3128/x"), "http://***@proxy:3128/x");
/// assert_eq!(mask_userinfo("proxy:3128"), "proxy:3128");
/// ```
#[must_use]
pub fn mask_userinfo(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(mask_word).collect()
}

/// Masks one word.
fn mask_word(word: &str) -> String {
    let start = word.find("://").map_or_else(|| word.find('=').map_or(0, |at| at + 1), |at| at + 3);
    let (head, rest) = word.split_at(start);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may itself hold a slash: then the last '@' of the word ends it, if the part before has a colon.
    let at = rest[..end].rfind('@').or_else(|| {
        let at = rest.rfind('@')?;
        rest[..at].split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')).then_some(at)
    });
    match at {
        Some(at) => format!("{head}***{}", &rest[at..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_password_goes() {
        for (text, expected) in [
            ("http://u:p@h:1", "http://***@h:1"),
            ("u:p@h:1", "***@h:1"),
            ("http://u:p%2Fq%40@h", "http://***@h"),
            ("http://u:p/q@h:3128", "http://***@h:3128"),
            ("https=http://u:p@h;http=u:q@h", "https=http://***@h"), // rather too much than too little
            ("http://u:p,q;r's@h", "http://***@h"),
            ("http://h/path@x", "http://h/path@x"),
            ("a u:p@h b", "a ***@h b"),
            ("", ""),
        ] {
            assert_eq!(mask_userinfo(text), expected, "{text}");
        }
    }
}
