//! Secrets in answers: withheld between the provider and everything else, so that neither a filter, a comparison nor a
//! record ever sees them (A11).
//!
//! What is withheld: properties whose names say that they hold a secret, whatever command gives them; the raw material of
//! commands that are known to return keys; and, in any text, private key blocks. A withheld value reads
//! [`WITHHELD`]; an absent one stays absent, so that one can still see whether something is set.

use std::borrow::Cow;

use super::objects::{Object, Value};
use super::pipeline::{Sink, Stop};

/// What stands in the place of a withheld value.
pub(super) const WITHHELD: &str = "[withheld]";
/// Levels of nesting that are looked into; what lies deeper is withheld whole, as nobody has looked at it.
const DEPTH_MAX: usize = super::objects::DEPTH_MAX;

/// Parts of names of properties that hold secrets, whatever the command, in lower case.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "privatekey",
    "presharedkey",
    "sharedkey",
    "apikey",
    "accesskey",
    "accesstoken",
    "sastoken",
    "connectionstring",
    "credential",
    "keyprotector",
];

/// Names of properties with raw key material, for commands that are known to return it, in lower case.
const MATERIAL: &[(&str, &[&str])] = &[
    ("Get-VMKeyProtector", &["*"]),
    ("Get-VMSecurity", &["keyprotector", "kskeyprotector", "encryptedkey"]),
    ("Get-AzureStackHCIRegistrationCertificate", &["rawdata", "pspath", "export"]),
    ("Get-SmbServerCertificateMapping", &["rawdata"]),
    ("Get-SmbServerCertProps", &["rawdata", "key"]),
    ("Get-NetIPsecPhase1AuthSet", &["proposal", "proposals", "sharedsecret"]),
    ("Get-NetIPsecPhase2AuthSet", &["proposal", "proposals", "sharedsecret"]),
    ("Get-DscConfiguration", &["mofcontent", "key"]),
    ("Get-ScheduledTask", &["arguments"]),
];

/// A sink in front of another, which gets everything but secrets.
pub(super) struct Withholding<'a> {
    material: &'static [&'static str],
    next: &'a mut dyn Sink,
}

impl<'a> Withholding<'a> {
    /// In front of `next`, for the answer of `command`.
    pub(super) fn new(command: &str, next: &'a mut dyn Sink) -> Self {
        let material = MATERIAL.iter().find(|(own, _)| *own == command).map_or(&[][..], |(_, names)| names);
        Self { material, next }
    }
}

impl Sink for Withholding<'_> {
    fn emit(&mut self, value: Value) -> Result<(), Stop> {
        self.next.emit(clean(value, self.material, DEPTH_MAX))
    }

    fn warn(&mut self, text: &str) -> Result<(), Stop> {
        self.next.warn(&clean_text(text))
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.next.flush()
    }
}

fn clean(value: Value, material: &[&str], depth: usize) -> Value {
    match value {
        Value::Text(text) => match clean_text(&text) {
            Cow::Borrowed(_) => Value::Text(text),
            Cow::Owned(clean) => clean.into(),
        },
        Value::Object(_) | Value::List(_) if depth == 0 => WITHHELD.into(),
        Value::Object(object) => clean_object(&object, material, depth - 1).into(),
        Value::List(items) => {
            items.into_iter().map(|item| clean(item, material, depth - 1)).collect::<Vec<_>>().into()
        }
        plain => plain,
    }
}

fn clean_object(object: &Object, material: &[&str], depth: usize) -> Object {
    let mut own = Object::new(object.type_name());
    for (name, value) in object.properties() {
        let value = match value {
            Value::Null => Value::Null,
            // Whether something is set or permitted is no secret.
            Value::Bool(value) => Value::Bool(*value),
            _ if is_secret(name, material) => WITHHELD.into(),
            value => clean(value.clone(), material, depth),
        };
        own.set(name.clone(), value);
    }
    own
}

fn is_secret(name: &str, material: &[&str]) -> bool {
    let lower: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_PARTS.iter().any(|part| lower.contains(part))
        || material.iter().any(|own| *own == "*" || lower == *own)
}

/// A text without the private key blocks in it.
fn clean_text(text: &str) -> Cow<'_, str> {
    const END: &str = "PRIVATE KEY-----";
    let Some(first) = text.find(END) else { return Cow::Borrowed(text) };
    let (Some(begin), Some(end)) = (text[..first].rfind("-----BEGIN"), text.rfind(END)) else {
        return Cow::Borrowed(text);
    };
    // An unfinished block hides all that follows it.
    let after = if end == first { "" } else { &text[end + END.len()..] };
    Cow::Owned(format!("{}{WITHHELD}{after}", &text[..begin]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<Value>, Vec<String>);

    impl Sink for Seen {
        fn emit(&mut self, value: Value) -> Result<(), Stop> {
            self.0.push(value);
            Ok(())
        }

        fn warn(&mut self, text: &str) -> Result<(), Stop> {
            self.1.push(text.to_owned());
            Ok(())
        }

        fn flush(&mut self) -> Result<(), Stop> {
            Ok(())
        }
    }

    fn seeded(name: &'static str) -> Value {
        let inner = Object::new("Inner").with(name, "s3cr3t-seed").with("Fine", "kept");
        Object::new("Outer")
            .with("Name", "kept")
            .with(name, vec![Value::from("s3cr3t-seed")])
            .with("List", vec![Value::from(inner.clone())])
            .with("Inner", inner)
            .into()
    }

    fn shown(command: &str, value: Value) -> String {
        let mut seen = Seen::default();
        Withholding::new(command, &mut seen).emit(value).unwrap();
        crate::operations::objects::json_line(&seen.0[0])
    }

    #[test]
    fn a11_seeded_secrets_are_withheld_and_nothing_else() {
        for (command, name) in [
            ("Get-Process", "AdminPassword"),
            ("Get-VM", "Key-Protector"),
            ("Get-Anything", "SharedKey1"),
            ("Get-NetIPsecPhase1AuthSet", "Proposals"),
            ("Get-SmbServerCertProps", "RawData"),
        ] {
            let text = shown(command, seeded(name));
            assert!(!text.contains("s3cr3t-seed"), "{command} {name}: {text}");
            assert_eq!(text.matches("kept").count(), 3, "{text}");
        }
        // The control: the same object from a command without such material goes through as it is.
        assert!(shown("Get-Disk", seeded("Proposals")).contains("s3cr3t-seed"));
    }

    #[test]
    fn a11_every_command_that_may_return_secrets_has_its_rule() {
        use crate::operations::catalog::Catalog;
        for entry in Catalog::azure_local().entries().iter().filter(|entry| entry.may_return_secrets) {
            // Its keywords are names of sites, no secrets; they hold no property that this list could name.
            let ruled = entry.name == "Get-NetFirewallDynamicKeywordAddress"
                || MATERIAL.iter().any(|(own, _)| *own == entry.name);
            assert!(ruled, "{}", entry.name);
        }
    }

    #[test]
    fn a11_private_keys_are_withheld_wherever_they_stand() {
        let block = "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----";
        assert_eq!(clean_text(&format!("a {block} b")), format!("a {WITHHELD} b"));
        assert_eq!(clean_text("a -----BEGIN PRIVATE KEY-----\nabc"), format!("a {WITHHELD}"));
        assert_eq!(clean_text("-----BEGIN CERTIFICATE-----"), "-----BEGIN CERTIFICATE-----");
        let mut seen = Seen::default();
        Withholding::new("Get-VM", &mut seen).warn(block).unwrap();
        assert_eq!(seen.1, [WITHHELD]);
    }

    #[test]
    fn what_is_too_deep_is_withheld_whole() {
        let nested = |levels: usize| (0..levels).fold(Value::from("x"), |value, _| Value::from(vec![value]));
        assert!(!shown("x", nested(DEPTH_MAX)).contains(WITHHELD));
        assert!(shown("x", nested(DEPTH_MAX + 1)).contains(WITHHELD));
    }
}
