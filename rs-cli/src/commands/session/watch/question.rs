//! What the operator is asked before a session is ended, as keys and answers: no terminal in here.

use uuid::Uuid;

use super::short;

/// Sessions that can be named by a key: 1 to 9.
const NAMED_MAX: usize = 9;

/// A session that can be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) id: Uuid,
    pub(super) engineer: String,
}

/// What the operator is being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    None,
    /// Which of these is to be ended?
    Which(Vec<Open>),
    /// Is this one really to be ended?
    Really(Uuid),
}

/// What comes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Leave,
    Say(String),
    /// The session is to be ended.
    End(Uuid),
}

impl Question {
    /// Takes a key. `open` are the sessions that can be ended now.
    pub(super) fn answer(&mut self, key: char, open: &[Open]) -> Reply {
        match (std::mem::replace(self, Self::None), key) {
            (Self::None, 'q' | 'Q') => Reply::Leave,
            (Self::None, 'e' | 'E') => self.which(open),
            (Self::None, _) => Reply::Nothing,
            (Self::Which(asked), key) => {
                let chosen = key.to_digit(10).and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
                match chosen.and_then(|at| asked.get(at)) {
                    Some(session) => self.really(session),
                    None => nothing_ended(),
                }
            }
            (Self::Really(session), 'y' | 'Y') => Reply::End(session),
            (Self::Really(_), _) => nothing_ended(),
        }
    }

    fn which(&mut self, open: &[Open]) -> Reply {
        match open {
            [] => Reply::Say("No session is open.".to_owned()),
            [one] => self.really(one),
            several => {
                let named = several.iter().take(NAMED_MAX).zip(1..);
                let list = named.map(|(one, key)| format!("  {key}  {} {}", short(one.id), one.engineer));
                let mut text = format!("Which session?\n{}", list.collect::<Vec<_>>().join("\n"));
                if several.len() > NAMED_MAX {
                    text.push_str("\n  Others: remote-support session end ID");
                }
                *self = Self::Which(several.to_vec());
                Reply::Say(text)
            }
        }
    }

    fn really(&mut self, session: &Open) -> Reply {
        *self = Self::Really(session.id);
        Reply::Say(format!(
            "End session {} of {}? The consent stands. y ends it, any other key does not.",
            session.id, session.engineer
        ))
    }
}

fn nothing_ended() -> Reply {
    Reply::Say("No session was ended.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(count: u128) -> Vec<Open> {
        (1..=count)
            .map(|at| Open { id: Uuid::from_u128(at << 96), engineer: format!("e{at}@support.example") })
            .collect()
    }

    #[test]
    fn s18_nothing_ends_without_a_yes() {
        let one = open(1);
        for key in ['n', 'q', 'e', 'Y', 'y'] {
            let mut question = Question::None;
            assert!(matches!(question.answer('e', &one), Reply::Say(text) if text.contains("y ends it")));
            let reply = question.answer(key, &one);
            assert_eq!(reply == Reply::End(one[0].id), matches!(key, 'y' | 'Y'), "{key}");
            assert_eq!(question, Question::None);
        }
    }

    #[test]
    fn s18_one_of_several_is_chosen_by_its_number_as_it_was_shown() {
        let mut sessions = open(3);
        let mut question = Question::None;
        assert!(
            matches!(question.answer('e', &sessions), Reply::Say(text) if text.contains("  2  00000002 e2@"))
        );
        let second = sessions[1].id;
        // One that ends in the meantime moves no number.
        sessions.remove(0);
        assert!(
            matches!(question.answer('2', &sessions), Reply::Say(text) if text.contains(&second.to_string()))
        );
        assert_eq!(question.answer('y', &sessions), Reply::End(second));
        for key in ['0', '4', 'x'] {
            let _asked = question.answer('e', &open(3));
            assert_eq!(question.answer(key, &open(3)), nothing_ended(), "{key}");
        }
        assert_eq!(question.answer('q', &sessions), Reply::Leave);
        assert_eq!(question.answer('e', &[]), Reply::Say("No session is open.".to_owned()));
    }

    #[test]
    fn more_than_nine_are_said_to_be_more() {
        let mut question = Question::None;
        for (count, more) in [(9, false), (10, true)] {
            let Reply::Say(text) = question.answer('e', &open(count)) else { panic!("asked") };
            assert_eq!(text.contains("Others:"), more);
            assert_eq!(question.answer('x', &[]), nothing_ended());
        }
    }
}
