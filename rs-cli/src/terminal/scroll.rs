//! Which part of a long text is in the window. The text is a row of items, each of some lines, which are laid out for the
//! width of the window when they are shown; so a text of any length costs what is shown of it.

use crate::output::{safe_lines, wrap};

/// A text in items.
pub(crate) trait Body {
    /// How many items there are.
    fn count(&self) -> usize;
    /// The text of one; empty for what is not shown.
    fn text(&mut self, item: usize) -> String;
}

/// A line of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) item: usize,
    pub(crate) line: usize,
}

/// A window on a [`Body`]: at a place, or at its end, where it follows what is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scroll {
    /// The first line of the window; none for one that follows the end.
    top: Option<Place>,
}

fn lines_of(body: &mut dyn Body, item: usize, columns: usize) -> Vec<String> {
    let text = body.text(item);
    if text.is_empty() { Vec::new() } else { wrap(&text, columns) }
}

impl Scroll {
    /// Whether the window follows the end.
    pub(crate) const fn follows(self) -> bool {
        self.top.is_none()
    }

    /// What is in the window, each line with its place.
    pub(crate) fn window(self, body: &mut dyn Body, columns: usize, rows: usize) -> Vec<(Place, String)> {
        let top = self.top.unwrap_or_else(|| last_top(body, columns, rows));
        let mut shown = Vec::new();
        for item in top.item..body.count() {
            let first = if item == top.item { top.line } else { 0 };
            for (line, text) in lines_of(body, item, columns).into_iter().enumerate().skip(first) {
                if shown.len() == rows {
                    return shown;
                }
                shown.push((Place { item, line }, text));
            }
            if shown.len() == rows {
                break;
            }
        }
        shown
    }

    /// Moves the window `by` lines towards the beginning.
    pub(crate) fn back(&mut self, body: &mut dyn Body, columns: usize, rows: usize, by: usize) {
        let mut top = self.top.unwrap_or_else(|| last_top(body, columns, rows));
        let mut left = by;
        while left > top.line && top.item > 0 {
            left -= top.line;
            top.item -= 1;
            // One behind its last line, from where the steps go back.
            top.line = lines_of(body, top.item, columns).len();
        }
        top.line = top.line.saturating_sub(left);
        self.top = Some(top);
    }

    /// Moves the window `by` lines towards the end; there it follows.
    pub(crate) fn on(&mut self, body: &mut dyn Body, columns: usize, rows: usize, by: usize) {
        let Some(mut top) = self.top else { return };
        let end = last_top(body, columns, rows);
        let mut left = by;
        while top < end && left > 0 {
            let here = lines_of(body, top.item, columns).len();
            if top.line + left < here {
                top.line += left;
                break;
            }
            left -= here.saturating_sub(top.line);
            top = Place { item: top.item + 1, line: 0 };
        }
        self.top = (top < end).then_some(top);
    }

    /// To the beginning.
    pub(crate) const fn go_to_start(&mut self) {
        self.top = Some(Place { item: 0, line: 0 });
    }

    /// To the end, which it follows from now on.
    pub(crate) const fn go_to_end(&mut self) {
        self.top = None;
    }

    /// To a place.
    pub(crate) const fn to(&mut self, place: Place) {
        self.top = Some(place);
    }

    /// So many items went away at the beginning.
    pub(crate) fn dropped(&mut self, items: usize) {
        self.top = self.top.map(|top| match top.item.checked_sub(items) {
            Some(item) => Place { item, ..top },
            None => Place { item: 0, line: 0 },
        });
    }
}

/// The place at which the last line of the body is the last of the window.
fn last_top(body: &mut dyn Body, columns: usize, rows: usize) -> Place {
    let mut left = rows;
    for item in (0..body.count()).rev() {
        let lines = lines_of(body, item, columns).len();
        if lines >= left {
            return Place { item, line: lines - left };
        }
        left -= lines;
    }
    Place { item: 0, line: 0 }
}

/// A search that goes on in steps, so that keys are heard in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    /// What is looked for, without regard to case.
    pub(crate) wanted: String,
    /// The next item to look at; none at the end.
    next: Option<usize>,
    back: bool,
}

/// How a step of a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Here it is.
    Found(Place),
    /// Not yet; this item is the next.
    Further(usize),
    /// Nowhere.
    Nowhere,
}

/// Longest text to search for, in characters.
pub(crate) const WANTED_CHARS_MAX: usize = 200;
/// Items of one step of a search.
const STEP_ITEMS: usize = 256;

impl Search {
    /// Looks in the items from `from` on, or back from there.
    pub(crate) fn new(wanted: &str, from: Option<usize>, back: bool) -> Self {
        Self { wanted: wanted.to_lowercase(), next: from, back }
    }

    /// Whether a line holds what is looked for.
    pub(crate) fn is_in(&self, line: &str) -> bool {
        !self.wanted.is_empty() && line.to_lowercase().contains(&self.wanted)
    }

    /// Looks at the next few items.
    pub(crate) fn step(&mut self, body: &mut dyn Body, columns: usize) -> Looked {
        for _ in 0..STEP_ITEMS {
            let Some(item) = self.next.filter(|item| *item < body.count()) else { return Looked::Nowhere };
            self.next = if self.back { item.checked_sub(1) } else { Some(item + 1) };
            // Whole, since what is looked for may stand where the line is broken for the window.
            if !self.is_in(&safe_lines(&body.text(item))) {
                continue;
            }
            let line = lines_of(body, item, columns).iter().position(|line| self.is_in(line)).unwrap_or(0);
            return Looked::Found(Place { item, line });
        }
        self.next.map_or(Looked::Nowhere, Looked::Further)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Texts(Vec<String>);

    impl Body for Texts {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn text(&mut self, item: usize) -> String {
            self.0[item].clone()
        }
    }

    fn numbered(items: usize) -> Texts {
        Texts((0..items).map(|item| format!("item {item}\n  second line of {item}\n")).collect())
    }

    fn shown(scroll: Scroll, body: &mut Texts, rows: usize) -> Vec<String> {
        scroll.window(body, 40, rows).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_window_follows_the_end_until_it_is_moved_and_again_when_it_is_back_there() {
        let mut body = numbered(10);
        let mut scroll = Scroll::default();
        assert_eq!(shown(scroll, &mut body, 3), ["  second line of 8", "item 9", "  second line of 9"]);
        scroll.back(&mut body, 40, 3, 4);
        assert_eq!(shown(scroll, &mut body, 3), ["  second line of 6", "item 7", "  second line of 7"]);
        body.0.push("new\n".to_owned());
        assert_eq!(shown(scroll, &mut body, 1), ["  second line of 6"], "it stays where it is");
        scroll.on(&mut body, 40, 3, 100);
        assert!(scroll.follows());
        assert_eq!(shown(scroll, &mut body, 1), ["new"]);
        scroll.go_to_start();
        assert_eq!(shown(scroll, &mut body, 2), ["item 0", "  second line of 0"]);
        scroll.back(&mut body, 40, 3, 7);
        assert_eq!(shown(scroll, &mut body, 1), ["item 0"]);
    }

    #[test]
    fn what_went_away_at_the_beginning_moves_nothing() {
        let mut body = numbered(10);
        let mut scroll = Scroll::default();
        scroll.to(Place { item: 5, line: 1 });
        body.0.drain(..3);
        scroll.dropped(3);
        assert_eq!(shown(scroll, &mut body, 1), ["  second line of 5"]);
        body.0.drain(..6);
        scroll.dropped(6);
        assert_eq!(shown(scroll, &mut body, 1), ["item 9"]);
    }

    #[test]
    fn a_search_finds_on_and_back_without_regard_to_case_and_in_steps() {
        let mut body = numbered(1000);
        let mut search = Search::new("LINE OF 700", Some(0), false);
        assert_eq!(search.step(&mut body, 40), Looked::Further(256));
        assert_eq!(search.step(&mut body, 40), Looked::Further(512));
        assert_eq!(search.step(&mut body, 40), Looked::Found(Place { item: 700, line: 1 }));
        let mut back = Search::new("item 3", Some(299), true);
        assert_eq!(back.step(&mut body, 40), Looked::Further(43));
        assert_eq!(back.step(&mut body, 40), Looked::Found(Place { item: 39, line: 0 }));
        let mut never = Search::new("nothing like it", Some(900), false);
        assert_eq!(never.step(&mut body, 40), Looked::Nowhere);
    }

    proptest! {
        #[test]
        fn no_window_is_empty_where_there_is_text_and_none_is_too_long(
            items in prop::collection::vec("[a-z\n ]{0,60}", 1..20), columns in 1_usize..30, rows in 1_usize..20,
            moves in prop::collection::vec((any::<bool>(), 0_usize..60), 0..10),
        ) {
            let mut body = Texts(items);
            let total: usize = (0..body.count()).map(|item| lines_of(&mut body, item, columns).len()).sum();
            let mut scroll = Scroll::default();
            for (back, by) in moves {
                if back { scroll.back(&mut body, columns, rows, by) } else { scroll.on(&mut body, columns, rows, by) }
                let window = scroll.window(&mut body, columns, rows);
                prop_assert!(window.len() <= rows);
                prop_assert_eq!(window.len(), rows.min(total), "a window is full where there is enough");
            }
        }
    }
}
