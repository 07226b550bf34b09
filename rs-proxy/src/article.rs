//! Reads the published list as it stands in the documentation's source.
//!
//! There, every star and every colon of a scheme has a backslash (`\*.core.windows.net`, `https\://…`), entries are
//! list items, and the list ends where the next heading begins.

use crate::name::HostPattern;

/// Heading under which the article lists the endpoints.
const HEADING: &str = "configure proxy settings";

/// The entries of the article, in order. Works on the whole article or on the list alone.
///
/// # Examples
///
/// ```
/// let list = "## Configure proxy settings\n\n- \\*.core.windows.net\n- https\\://edgesupprd.trafficmanager.net\n";
/// let entries = rs_proxy::article_entries(list);
/// assert_eq!(entries.len(), 2);
/// assert_eq!(entries[0].to_string(), "*.core.windows.net");
/// assert_eq!(entries[1].to_string(), "edgesupprd.trafficmanager.net");
/// ```
#[must_use]
pub fn article_entries(markdown: &str) -> Vec<HostPattern> {
    let mut lines = markdown.lines().peekable();
    let has_section = markdown.lines().any(is_section);
    if has_section {
        while lines.next_if(|line| !is_section(line)).is_some() {}
        lines.next();
    }
    lines
        .take_while(|line| !(has_section && line.trim_start().starts_with('#')))
        .filter_map(list_item)
        .filter_map(|item| unescape(item).parse().ok())
        .collect()
}

/// Removes Markdown's backslash in front of punctuation.
///
/// # Examples
///
/// ```
/// assert_eq!(rs_proxy::unescape_markdown(r"https\://h"), "https://h");
/// assert_eq!(rs_proxy::unescape_markdown(r"a\b"), r"a\b");
/// ```
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek().is_some_and(char::is_ascii_punctuation) {
            continue;
        }
        out.push(c);
    }
    out
}

/// Whether a line is the heading of the list.
fn is_section(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('#') && line.trim_start_matches('#').trim().eq_ignore_ascii_case(HEADING)
}

/// The text of a list item, without code marks.
fn list_item(line: &str) -> Option<&str> {
    let line = line.trim();
    let item = ["- ", "* ", "+ "].iter().find_map(|bullet| line.strip_prefix(bullet))?;
    Some(item.trim().trim_matches('`'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Cloud, Profile};

    const ARTICLE: &str = r"# Get remote support

- [Configure proxy settings](#configure-proxy-settings)
- servicebus.is.mentioned.example

## Configure proxy settings

If you use a proxy, add these endpoints to your allowlist:

- \*.servicebus.windows.net
- \*.core.windows.net
- login.microsoftonline.com
- https\://asztrsprod.westus2.cloudapp.azure.com
- https\://asztrsprod.westeurope.cloudapp.azure.com
- https\://asztrsprod.eastus.cloudapp.azure.com
- https\://asztrsprod.westcentralus.cloudapp.azure.com
- https\://asztrsprod.southeastasia.cloudapp.azure.com
- https\://edgesupprd.trafficmanager.net

## Enable remote support

- after.example
";

    #[test]
    fn p01_the_articles_own_list_is_our_public_profile() {
        let expected: Vec<HostPattern> =
            Profile::of(Cloud::Public).endpoints().iter().map(|e| e.pattern.clone()).collect();
        assert_eq!(article_entries(ARTICLE), expected);
        assert_eq!(article_entries(&ARTICLE.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn p01_nothing_outside_the_section_counts() {
        assert!(article_entries("# Other\n## Configure proxy settings\n## Next\n- a.example\n").is_empty());
        assert!(article_entries("").is_empty());
    }
}
