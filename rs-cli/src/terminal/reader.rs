//! Somebody who reads a long text on a screen: moves the window, and searches. The keys of all full-screen views; what they
//! have beyond these is their own.

use super::frame::{Foot, Line, Size, Style};
use super::screen::Key;
use super::scroll::{Body, Looked, Place, Scroll, Search, WANTED_CHARS_MAX};

/// The keys, for the foot.
pub(crate) const KEYS: [(&str, &str); 4] =
    [("PgUp/PgDn", "scroll"), ("End", "follows"), ("/", "searches"), ("n/N", "next/previous")];

/// Where somebody reads, and what they look for.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) scroll: Scroll,
    /// The size of the window when it was last shown.
    window: Option<Size>,
    /// The text that is being typed after `/`.
    typing: Option<String>,
    /// The search that is under way.
    search: Option<Search>,
    /// What was looked for last, and where it was found.
    wanted: Option<String>,
    found: Option<Place>,
    message: Option<String>,
}

impl Reader {
    /// Says something in the foot until the next key.
    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.message = Some(text.into());
    }

    /// Takes away what was said, and stops a search.
    pub(crate) fn quiet(&mut self) {
        (self.message, self.search) = (None, None);
    }

    /// Whether a search has to go on: see [`Self::look`].
    pub(crate) const fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Whether letters are typed to be searched for, so that none of them is a key.
    pub(crate) const fn is_typing(&self) -> bool {
        self.typing.is_some()
    }

    /// Takes a key; false for one that is none of its own.
    pub(crate) fn key(&mut self, key: Key, body: &mut dyn Body) -> bool {
        // Any key stops a search, and takes away what was said.
        self.quiet();
        if let Some(wanted) = self.typing.take() {
            self.typed(wanted, key, body);
            return true;
        }
        let window = self.window.unwrap_or(Size::DEFAULT);
        let (columns, rows) = (window.columns, window.rows);
        // A line stays on the screen, so that the eye finds its place.
        let page = rows.saturating_sub(1).max(1);
        match key {
            Key::Up | Key::Char('k') => self.scroll.back(body, columns, rows, 1),
            Key::Down | Key::Char('j') => self.scroll.on(body, columns, rows, 1),
            Key::PageUp => self.scroll.back(body, columns, rows, page),
            Key::PageDown => self.scroll.on(body, columns, rows, page),
            Key::Home | Key::Char('g') => self.scroll.go_to_start(),
            Key::End | Key::Char('G') => self.scroll.go_to_end(),
            Key::Char('/') => self.typing = Some(String::new()),
            Key::Char('n') => self.again(false, body),
            Key::Char('N') => self.again(true, body),
            Key::Escape => (self.found, self.wanted) = (None, None),
            _ => return false,
        }
        true
    }

    fn typed(&mut self, mut wanted: String, key: Key, body: &mut dyn Body) {
        match key {
            Key::Enter if wanted.is_empty() => {}
            Key::Enter => {
                self.wanted = Some(wanted);
                self.found = None;
                self.again(false, body);
            }
            Key::Escape | Key::Interrupt => {}
            Key::Backspace => {
                wanted.pop();
                self.typing = Some(wanted);
            }
            Key::Char(c) if wanted.chars().count() < WANTED_CHARS_MAX => {
                wanted.push(c);
                self.typing = Some(wanted);
            }
            _ => self.typing = Some(wanted),
        }
    }

    /// Looks on from where it was found last, else from the window; one that follows the end looks from the beginning.
    fn again(&mut self, back: bool, body: &mut dyn Body) {
        let Some(wanted) = &self.wanted else {
            self.say("Nothing was looked for yet: / searches.");
            return;
        };
        let from = match (self.found, back) {
            (Some(found), false) => Some(found.item + 1),
            (Some(found), true) => found.item.checked_sub(1),
            (None, true) => body.count().checked_sub(1),
            (None, false) if self.scroll.follows() => Some(0),
            (None, false) => {
                let window = self.window.unwrap_or(Size::DEFAULT);
                self.scroll.window(body, window.columns, 1).first().map(|(place, _)| place.item)
            }
        };
        self.search = Some(Search::new(wanted, from, back));
        self.say(format!("Looking for \"{wanted}\" ... any key stops it."));
    }

    /// Goes on with a search, for a few entries; gives the place when it is found.
    pub(crate) fn look(&mut self, body: &mut dyn Body) -> Option<Place> {
        let columns = self.window.unwrap_or(Size::DEFAULT).columns;
        let looked = self.search.as_mut()?.step(body, columns);
        let wanted = self.wanted.clone().unwrap_or_default();
        match looked {
            Looked::Further(item) => {
                let percent = item * 100 / body.count().max(1);
                self.say(format!("Looking for \"{wanted}\" ... {percent} % through, any key stops it."));
                None
            }
            Looked::Nowhere => {
                self.search = None;
                let further = if self.found.is_some() { "further " } else { "" };
                self.say(format!("\"{wanted}\" is not found {further}in this direction."));
                None
            }
            Looked::Found(place) => {
                self.search = None;
                self.found = Some(place);
                self.scroll.to(place);
                self.say(format!("\"{wanted}\" is in the marked line. n looks further, N back."));
                Some(place)
            }
        }
    }

    /// So many items went away at the beginning of the text.
    pub(crate) fn dropped(&mut self, items: usize) {
        self.scroll.dropped(items);
        self.found =
            self.found.and_then(|found| Some(Place { item: found.item.checked_sub(items)?, ..found }));
    }

    /// What is in the window.
    pub(crate) fn lines(&mut self, body: &mut dyn Body, window: Size) -> Vec<Line> {
        self.window = Some(window);
        let lines = self.scroll.window(body, window.columns, window.rows);
        lines
            .into_iter()
            .map(|(place, text)| {
                let style = if Some(place) == self.found { Style::Found } else { Style::Plain };
                Line::new(style, text)
            })
            .collect()
    }

    /// What is being typed or said; none where the keys belong into the foot.
    pub(crate) fn foot(&self) -> Option<Foot> {
        match (&self.typing, &self.message) {
            (Some(wanted), _) => Some(Foot::Says(format!("/{wanted}_  (Enter searches, Esc does not)"))),
            (None, message) => message.clone().map(Foot::Says),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered(usize);

    impl Body for Numbered {
        fn count(&self) -> usize {
            self.0
        }

        fn text(&mut self, item: usize) -> String {
            format!("item {item}\n")
        }
    }

    fn types(reader: &mut Reader, text: &str, body: &mut Numbered) {
        for c in text.chars() {
            assert!(reader.key(if c == '\r' { Key::Enter } else { Key::Char(c) }, body));
        }
    }

    fn search(reader: &mut Reader, body: &mut Numbered) -> Option<Place> {
        while reader.is_searching() {
            if let Some(place) = reader.look(body) {
                return Some(place);
            }
        }
        None
    }

    #[test]
    fn a_search_goes_on_back_and_stops_at_any_key() {
        let (mut reader, mut body) = (Reader::default(), Numbered(1000));
        types(&mut reader, "/item 99\r", &mut body);
        assert_eq!(search(&mut reader, &mut body).map(|place| place.item), Some(99));
        types(&mut reader, "n", &mut body);
        assert_eq!(search(&mut reader, &mut body).map(|place| place.item), Some(990));
        types(&mut reader, "N", &mut body);
        assert_eq!(search(&mut reader, &mut body).map(|place| place.item), Some(99));
        types(&mut reader, "N", &mut body);
        assert_eq!(search(&mut reader, &mut body), None);
        assert!(matches!(reader.foot(), Some(Foot::Says(text)) if text.contains("not found further")));
        types(&mut reader, "n", &mut body);
        assert!(reader.is_searching());
        assert!(!reader.key(Key::Char('x'), &mut body), "no key of its own, and it stops the search");
        assert!(!reader.is_searching());
        assert!(!reader.key(Key::Char('q'), &mut body));
    }

    #[test]
    fn what_is_looked_for_has_a_bound() {
        let (mut reader, mut body) = (Reader::default(), Numbered(1));
        types(&mut reader, "/", &mut body);
        types(&mut reader, &"x".repeat(WANTED_CHARS_MAX), &mut body);
        assert_eq!(reader.typing.as_deref().map(str::len), Some(WANTED_CHARS_MAX));
        types(&mut reader, "y", &mut body);
        assert_eq!(reader.typing.as_deref().map(str::len), Some(WANTED_CHARS_MAX), "one more is not taken");
        assert!(reader.key(Key::Backspace, &mut body));
        assert_eq!(reader.typing.as_deref().map(str::len), Some(WANTED_CHARS_MAX - 1));
    }
}
