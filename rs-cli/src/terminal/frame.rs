//! What stands on a screen of a given size: a head with facts, a body, and a foot with keys or a question.

use crate::output::{cut, safe, wrap};

/// Most lines of a head; what has no room there is left out.
const HEAD_LINES_MAX: usize = 4;
/// Most lines of a foot: a question has to be read whole, on a narrow terminal too.
const FOOT_LINES_MAX: usize = 5;
/// Between two facts of the head, and between two keys of the foot.
const APART: &str = "  ";

/// Columns and rows of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// What is assumed where a terminal does not tell its own.
    pub(crate) const DEFAULT: Self = Self { columns: 80, rows: 24 };

    /// The size of the terminal at present.
    pub(crate) fn of_terminal() -> Self {
        match crossterm::terminal::size() {
            Ok((columns, rows)) if columns > 0 && rows > 0 => {
                Self { columns: columns.into(), rows: rows.into() }
            }
            _ => Self::DEFAULT,
        }
    }
}

/// How a line looks. Each says in words what it is; the look only helps to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// Head and foot.
    Bar,
    /// A question, or a message that must not be missed.
    Strong,
    /// Where the search stopped.
    Found,
}

/// One line of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) style: Style,
    pub(crate) text: String,
}

impl Line {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }
}

/// What stands in the foot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Foot {
    /// Keys and what they do, the most important first; as many as have room.
    Keys(Vec<(&'static str, &'static str)>),
    /// Something to be read, whole.
    Says(String),
}

/// The lines of a screen, as many as it has rows, none wider than it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame(pub(crate) Vec<Line>);

impl Frame {
    /// Puts a screen together. `body` is asked for its lines when it is known how many rows are left for it.
    ///
    /// A screen that is too small for everything has its foot first, then a line of head, then body.
    pub(crate) fn compose(
        size: Size,
        facts: &[String],
        foot: &Foot,
        body: impl FnOnce(Size) -> Vec<Line>,
    ) -> Self {
        let mut foot = foot_lines(foot, size.columns);
        foot.truncate(size.rows);
        let left = size.rows - foot.len();
        let mut head = flow(facts, size.columns);
        // At least half of what is left is for the body.
        head.truncate(HEAD_LINES_MAX.min(left.div_ceil(2)));
        let window = Size { columns: size.columns, rows: left - head.len() };
        let mut lines: Vec<Line> = head.into_iter().map(|text| Line::new(Style::Bar, text)).collect();
        let mut shown = body(window);
        shown.truncate(window.rows);
        shown.resize(window.rows, Line::new(Style::Plain, ""));
        lines.extend(shown);
        lines.extend(foot);
        for line in &mut lines {
            line.text = cut(&line.text, size.columns);
        }
        Self(lines)
    }
}

/// Facts one after the other, on as many lines as they take.
fn flow(facts: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts.iter().map(|fact| safe(fact)) {
        let width = crate::output::columns(&fact);
        match lines.last_mut() {
            Some(line) if crate::output::columns(line) + APART.len() + width <= columns => {
                line.push_str(APART);
                line.push_str(&fact);
            }
            _ => lines.push(cut(&fact, columns)),
        }
    }
    lines
}

fn foot_lines(foot: &Foot, columns: usize) -> Vec<Line> {
    match foot {
        Foot::Keys(keys) => {
            let hints: Vec<String> = keys.iter().map(|(key, what)| format!("{key} {what}")).collect();
            let line = flow(&hints, columns).into_iter().next().unwrap_or_default();
            vec![Line::new(Style::Bar, line)]
        }
        Foot::Says(text) => wrap(text, columns)
            .into_iter()
            .take(FOOT_LINES_MAX)
            .map(|line| Line::new(Style::Strong, line))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Foot {
        Foot::Keys(vec![("q", "leaves"), ("e", "ends a session"), ("/", "searches")])
    }

    fn compose(columns: usize, rows: usize, foot: &Foot) -> Vec<String> {
        let facts = ["WATCH".to_owned(), "engineer@support.example".to_owned(), "Diagnostics".to_owned()];
        let frame = Frame::compose(Size { columns, rows }, &facts, foot, |window| {
            (0..window.rows).map(|at| Line::new(Style::Plain, format!("body {at}"))).collect()
        });
        frame.0.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn facts_flow_and_keys_that_have_no_room_are_left_out() {
        let wide = compose(80, 4, &keys());
        assert_eq!(wide[0], "WATCH  engineer@support.example  Diagnostics");
        assert_eq!(wide[3], "q leaves  e ends a session  / searches");
        let narrow = compose(40, 5, &keys());
        assert_eq!(&narrow[..2], ["WATCH  engineer@support.example", "Diagnostics"]);
        assert_eq!(narrow[4], "q leaves  e ends a session  / searches");
        assert_eq!(compose(20, 5, &keys())[4], "q leaves");
    }

    #[test]
    fn a_question_is_whole_on_a_narrow_screen() {
        let question = "End the session of engineer@support.example (1a2b3c4d)? The consent stands. y ends it, any other key does not.";
        let shown = compose(40, 12, &Foot::Says(question.to_owned()));
        let foot: String = shown[9..].concat();
        assert_eq!(foot.replace(' ', ""), question.replace(' ', ""));
    }

    proptest! {
        #[test]
        fn sec37_no_size_and_no_text_breaks_the_frame(
            columns in 0_usize..120, rows in 0_usize..60, facts in prop::collection::vec(any::<String>(), 0..6), says in any::<String>(),
        ) {
            let size = Size { columns, rows };
            let frame = Frame::compose(size, &facts, &Foot::Says(says.clone()), |window| {
                wrap(&says, window.columns).into_iter().map(|line| Line::new(Style::Plain, line)).collect()
            });
            prop_assert_eq!(frame.0.len(), rows);
            for line in &frame.0 {
                prop_assert!(crate::output::columns(&line.text) <= columns);
                prop_assert!(line.text.chars().all(|c| !crate::output::is_unsafe(c)));
            }
        }
    }
}
