//! What a form or an address carries: names and values, the first of each counts.

use crate::outcome::{ErrorCode, Failure};

/// Most fields that are looked at.
const FIELDS_MAX: usize = 64;

/// Fields by name. A credential may be among them.
#[derive(Clone, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads `a=b&c=d`; whatever comes is read somehow.
    pub(super) fn read(text: &[u8]) -> Self {
        let fields = url::form_urlencoded::parse(text).take(FIELDS_MAX);
        Self(fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The value of a field without the blanks around it; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a box was ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a field in its type, if it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] with the label of the field and why.
    pub(super) fn parsed<T>(&self, name: &str, label: &str) -> Result<Option<T>, Failure>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let parsed = self
            .get(name)
            .map(|text| text.parse().map_err(|error: T::Err| invalid(label, &error.to_string())));
        parsed.transpose()
    }

    /// As [`Form::parsed`], for a field that must be there.
    ///
    /// # Errors
    ///
    /// As [`Form::parsed`].
    pub(super) fn needed<T>(&self, name: &str, label: &str) -> Result<T, Failure>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.parsed(name, label)?.ok_or_else(|| invalid(label, "nothing was given"))
    }

    /// `name=value&…` of the fields in `names` that are there, for an address.
    pub(super) fn only(&self, names: &[&str]) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for name in names {
            if let Some(value) = self.get(name) {
                text.append_pair(name, value);
            }
        }
        text.finish()
    }
}

/// A field that cannot be used.
pub(super) fn invalid(label: &str, why: &str) -> Failure {
    Failure::new(ErrorCode::InvalidValue, format!("{label}: {why}"))
        .next_step("go back and correct it; nothing was changed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_of_a_name_counts_and_blanks_around_it_do_not() {
        let form = Form::read(b"a=+1+&a=2&b=&c=%26%3D%00");
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), None, Some("&=\0")));
        assert_eq!(form.parsed::<u8>("a", "A").expect("a number"), Some(1));
        assert!(form.needed::<u8>("b", "B").expect_err("empty").to_string().contains("B: nothing was given"));
        assert_eq!(form.only(&["c", "x", "a"]), "c=%26%3D%00&a=1");
    }

    #[test]
    fn sec43_fields_past_the_bound_are_not_looked_at() {
        let text = |n: usize| (0..n).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert!(Form::read(text(FIELDS_MAX).as_bytes()).has(&format!("f{}", FIELDS_MAX - 1)));
        assert!(!Form::read(text(FIELDS_MAX + 1).as_bytes()).has(&format!("f{FIELDS_MAX}")));
    }

    proptest! {
        #[test]
        fn sec44_any_bytes_are_a_form(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::read(&bytes);
        }
    }
}
