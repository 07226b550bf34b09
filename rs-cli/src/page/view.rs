//! The frame of all screens, and what several of them show alike.

use maud::{DOCTYPE, Markup, html};
use rs_consent::{AccessLevel, ApprovalRule, Terms};

use super::door::{Operator, Said};
use super::route;
use crate::output;

/// One screen, to be put into the frame.
pub(super) struct Screen {
    pub(super) title: String,
    /// The entry of the menu that it belongs to.
    pub(super) here: &'static str,
    pub(super) body: Markup,
}

/// The menu: address and name.
const MENU: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/grant", "Access"),
    ("/sessions", "Sessions"),
    ("/approvals", "Approvals"),
    ("/requests", "Support requests"),
    ("/proxy", "Proxy"),
    ("/health", "Health"),
];

/// A document without menu, for whoever is not signed in.
pub(super) fn bare(title: &str, body: Markup) -> Markup {
    document(title, None, html! { main #main { div.door { (body) } } })
}

/// `now` is for the script, which counts by the clock of the node.
fn document(title: &str, now: Option<chrono::DateTime<chrono::Utc>>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - Remote support" }
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
            }
            body data-now=[now.map(|now| now.to_rfc3339())] { (body) }
        }
    }
}

/// The question for the code.
pub(super) fn sign_in(refused: Option<&str>, at_terminal: bool) -> Markup {
    let place = if at_terminal {
        html! { "The terminal in which this page was started shows a code." }
    } else {
        html! { "Get a code on this machine with " code { "remote-support console --of-agent" } "." }
    };
    let body = html! {
        h1 { "Remote support" }
        p { (place) " It is good for one sign-in." }
        @if let Some(words) = refused { p.said.bad role="alert" { (words) } }
        form method="post" action=(route::SIGN_IN) {
            label for="code" { "Code" }
            input #code.code name="code" required autofocus autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16";
            button.first type="submit" { "Sign in" }
        }
    };
    bare("Sign in", body)
}

/// A screen in its frame.
pub(super) fn page(
    screen: Screen,
    node: &str,
    now: chrono::DateTime<chrono::Utc>,
    operator: &Operator,
    said: Option<&Said>,
) -> Markup {
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            p.brand { "Remote support " span.node { (node) } }
            nav aria-label="Main" {
                ul {
                    @for (address, name) in MENU {
                        li {
                            a href=(address) aria-current=[(address == screen.here).then_some("page")] { (name) }
                        }
                    }
                }
            }
            form.out method="post" action=(route::SIGN_OUT) {
                (token(operator, route::SIGN_OUT))
                button type="submit" { "Sign out" }
            }
        }
        main #main tabindex="-1" {
            @if let Some(said) = said { (told(said)) }
            (screen.body)
        }
        footer {
            p.quiet { "Everything here can also be done in the terminal: " code { "remote-support --help" } }
        }
    };
    document(&screen.title, Some(now), body)
}

fn told(said: &Said) -> Markup {
    html! {
        div.said.bad[said.bad] role="status" {
            @for line in &said.lines { p { (output::safe(line)) } }
        }
    }
}

/// The hidden field without which a form does nothing.
pub(super) fn token(operator: &Operator, action: &str) -> Markup {
    html! { input type="hidden" name="token" value=(operator.token(action)); }
}

/// An instant, for people and for programs.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// What is left until `ends`: `left` as it is now, counted down by the script. The end is given to the nearest second, so that
/// the same end is the same text.
pub(super) fn countdown(ends: chrono::DateTime<chrono::Utc>, left: &str) -> Markup {
    let ends = ends + chrono::TimeDelta::milliseconds(500);
    html! { span data-ends=(ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)) { (left) } }
}

/// Takes a file of at most `bytes_max` into the field `into`. The script reads the file, so only the script shows this.
pub(super) fn file_chooser(into: &str, bytes_max: usize) -> Markup {
    let id = format!("{into}-file");
    html! {
        div hidden {
            label for=(id) { "Or choose the file" }
            input id=(id) type="file" data-into=(into) data-bytes-max=(bytes_max);
        }
    }
}

/// Names and values.
pub(super) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// A level as people say it.
pub(super) fn level(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Diagnostics => "Diagnostics",
        _ => "Diagnostics and repair",
    }
}

/// Which calls wait, in words.
pub(super) fn approval(rule: ApprovalRule) -> &'static str {
    match rule {
        ApprovalRule::Never => "Nothing: the consent covers all that the level permits",
        ApprovalRule::Changes => "Before collected data leaves, and before the state of the node is changed",
        ApprovalRule::Releases => "Before collected data leaves this site",
    }
}

/// Terms in full.
pub(super) fn terms(terms: &Terms) -> Markup {
    html! {
        div.terms { @for paragraph in terms.text().split("\n\n") { p { (output::safe(paragraph.trim())) } } }
        p.quiet { "Version " (terms.version().as_str()) }
    }
}

/// `SupportRequest` as people write it: `Support request`.
pub(super) fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
            words.push(letter.to_ascii_lowercase());
        } else {
            words.push(letter);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_fields_become_words() {
        for (name, words) in [("SupportRequest", "Support request"), ("From", "From"), ("", "")] {
            assert_eq!(super::words(name), words);
        }
    }
}
