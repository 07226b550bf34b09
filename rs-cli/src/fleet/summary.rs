//! How many of how many, in words: silence would be no answer (F03, F04).

use std::fmt::Display;

use super::answer::Trouble;

/// So many nodes are named in a summary; the rows have all.
pub const NAMED_MAX: usize = 8;

/// How remote support stands on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// It is enabled.
    Enabled,
    /// It is not, for this reason, such as a consent that waits for its start.
    Not(String),
    /// Nobody can say.
    Unknown(Trouble),
}

/// On how many nodes remote support is enabled, and why not on the others.
///
/// ```
/// use rs_cli::fleet::summary::{Stands, enabled};
///
/// let stands = [("n1", Stands::Enabled), ("n2", Stands::Not("not enabled".into()))];
/// assert_eq!(enabled(&stands), "Remote support is enabled on 1 of 2 nodes: not on n2 (not enabled).");
/// ```
#[must_use]
pub fn enabled<N: Display>(stands: &[(N, Stands)]) -> String {
    let on = stands.iter().filter(|(_, stands)| *stands == Stands::Enabled).count();
    let not = named(stands.iter().filter_map(|(host, stands)| match stands {
        Stands::Not(why) => Some((host, why.as_str())),
        _ => None,
    }));
    let unknown = named(stands.iter().filter_map(|(host, stands)| match stands {
        Stands::Unknown(trouble) => Some((host, trouble.cause.as_str())),
        _ => None,
    }));
    let parts = [(not, "not on"), (unknown, "not known of")];
    let parts: Vec<String> =
        parts.into_iter().filter_map(|(names, word)| Some(format!("{word} {}", names?))).collect();
    let more = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    let lost = stands.iter().any(|(_, stands)| matches!(stands, Stands::Unknown(_)));
    let known = if on == 0 && lost { "known to be " } else { "" };
    format!("Remote support is {known}enabled {}{more}.", of(on, stands.len()))
}

/// `on 2 of 3 nodes`.
#[must_use]
pub fn of(part: usize, all: usize) -> String {
    match (part, all) {
        (1, 1) => "on the one node".to_owned(),
        (part, all) if part == all => format!("on all {all} nodes"),
        (0, 1) => "on none of 1 node".to_owned(),
        (0, all) => format!("on none of {all} nodes"),
        (part, all) => format!("on {part} of {all} nodes"),
    }
}

/// `n2 (why), n3 (why) and 4 more`; none where there is nobody.
#[must_use]
pub fn named<'a, N: Display + 'a>(nodes: impl Iterator<Item = (&'a N, &'a str)>) -> Option<String> {
    let all: Vec<String> = nodes.map(|(host, why)| format!("{host} ({why})")).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let text = all.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (all.len(), more) {
        (0, _) => None,
        (_, 0) => Some(text),
        _ => Some(format!("{text} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::NodeTrouble;
    use super::*;

    fn stands(words: &[&str]) -> Vec<(String, Stands)> {
        let one = |(at, word): (usize, &&str)| {
            let stands = match *word {
                "on" => Stands::Enabled,
                "lost" => Stands::Unknown(Trouble::of(NodeTrouble::Unreachable, "no route")),
                why => Stands::Not(why.to_owned()),
            };
            (format!("n{}", at + 1), stands)
        };
        words.iter().enumerate().map(one).collect()
    }

    #[test]
    fn f03_f04_how_many_nodes_is_said_in_words() {
        for (words, text) in [
            (&["on", "on", "on"][..], "Remote support is enabled on all 3 nodes."),
            (&["on"], "Remote support is enabled on the one node."),
            (&["off"], "Remote support is enabled on none of 1 node: not on n1 (off)."),
            (&["off", "off"], "Remote support is enabled on none of 2 nodes: not on n1 (off), n2 (off)."),
            (
                &["lost"],
                "Remote support is known to be enabled on none of 1 node: not known of n1 (no route).",
            ),
            (&["on", "on", "lost"], "Remote support is enabled on 2 of 3 nodes: not known of n3 (no route)."),
            (
                &["on", "off", "lost"],
                "Remote support is enabled on 1 of 3 nodes: not on n2 (off); not known of n3 (no route).",
            ),
        ] {
            assert_eq!(enabled(&stands(words)), text);
        }
    }

    #[test]
    fn f03_so_many_are_named_and_the_rest_is_counted() {
        let text = enabled(&stands(&["off"; NAMED_MAX]));
        assert!(text.contains("n8 (off).") && !text.contains("more"), "{text}");
        let text = enabled(&stands(&["off"; NAMED_MAX + 2]));
        assert!(text.ends_with("n8 (off) and 2 more."), "{text}");
    }
}
