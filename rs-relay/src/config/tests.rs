use super::*;
use proptest::prelude::*;

fn nothing(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn error(text: &str) -> String {
    parse(text, nothing).unwrap_err().to_string()
}

/// The example at the head of the module is what it says.
#[test]
fn the_documented_example_is_valid() {
    let text = include_str!("../config.rs");
    let example = text.lines().skip_while(|line| *line != "//! ```toml").skip(1);
    let example = example.take_while(|line| *line != "//! ```").map(|line| line.trim_start_matches("//!"));
    let example = example.collect::<Vec<_>>().join("\n");
    let namespaces = parse(&example, |_| Ok("key\n".to_owned())).unwrap();
    let [namespace] = &namespaces[..] else { panic!() };
    assert_eq!((namespace.entities.len(), namespace.issuers.len()), (1, 1));
    let rule = namespace.rules.iter().next().unwrap();
    assert_eq!(rule.primary_key().expose(), "key");
    assert_eq!(rule.secondary_key().unwrap().expose(), "an older key that is still good");
    assert_eq!(namespace.public, Some("relay.example.test:8443".parse().unwrap()));
    assert_eq!(namespace.entities[0].1.kinds, Kinds::WebSocket);
    assert!(namespace.create_on_listen && !namespace.entities[0].1.anonymous_senders);
}

#[test]
fn errors_say_where_and_what() {
    let ns = "[[namespace]]\nhosts=[\"h.test\"]\n";
    let table = [
        ("", "the file: it has no [[namespace]]"),
        ("[[namespace]]\nhosts=[]", "namespace 1: `hosts` is empty"),
        ("[[namespace]]\n", "line 1: missing field `hosts`"),
        (&format!("{ns}hots=1"), "line 3: unknown field `hots`"),
        (&format!("{ns}entities=0"), "namespace 1: `entities` must be at least 1"),
        (&format!("{ns}kinds=\"tcp\""), "line 3: unknown variant `tcp`"),
        (&format!("{ns}[[namespace.entity]]\nname=\"a/../b\""), "namespace 1, entity \"a/../b\""),
        (
            &format!("{ns}[[namespace.entity]]\nname=\"a\"\n[[namespace.entity]]\nname=\"A\""),
            "namespace 1, entity \"A\": it is declared twice",
        ),
        (
            &format!("{ns}[[namespace.rule]]\nname=\"r\"\nrights=[]"),
            "namespace 1, rule \"r\": `rights` is empty",
        ),
        (
            &format!("{ns}[[namespace.rule]]\nname=\"r\"\nrights=[\"Send\"]"),
            "namespace 1, rule \"r\": it has no key",
        ),
        (
            &format!("{ns}[[namespace.rule]]\nname=\"r\"\nrights=[\"Send\"]\nprimary-key-file=\"x\""),
            "namespace 1, rule \"r\": cannot read x",
        ),
        (
            &format!("{ns}[[namespace.issuer]]\nname=\"i\"\nissuer=\"i\""),
            "namespace 1, issuer \"i\": give either jwks-file or pem-file",
        ),
    ];
    for (text, begin) in table {
        assert!(error(text).starts_with(begin), "{text:?} gave {:?}", error(text));
    }
    let one = "[[namespace.rule]]\nname=\"r\"\nrights=[\"Send\"]\nprimary-key=\"k\"\n";
    assert!(error(&format!("{ns}{one}{one}")).contains("two authorization rules named r"));
    let issuer = format!("{ns}[[namespace.issuer]]\nname=\"i\"\nissuer=\"i\"\npem-file=\"p\"");
    let error = parse(&issuer, |_| Ok(String::new())).unwrap_err().to_string();
    assert!(error.contains("it has no [[namespace.issuer.grant]]"), "{error}");
}

#[test]
fn sec33_errors_show_no_keys() {
    let rule = "[[namespace]]\nhosts=[\"h.test\"]\n[[namespace.rule]]\nname=\"r\"\nrights=[\"Send\"]\n";
    let texts = [
        format!("{rule}primary-key=\"canary\nx\""),
        format!("{rule}primary-key=[\"canary\"]"),
        format!("{rule}primary-key=\"canary\" canary"),
        format!("{rule}primary-key=\"canary\"\nprimary-key-file=\"f\""),
        format!("{rule}primary-key=\"canary\\u0007\""),
        format!("{rule}primary-key={{canary=1}}"),
        format!("{rule}primary-key=canary"),
        format!("{rule}rights=[\"canary\"]\nprimary-key=7"),
    ];
    for text in texts {
        let error = parse(&text, nothing).unwrap_err();
        assert!(
            !format!("{error}").contains("canary") && !format!("{error:?}").contains("canary"),
            "{error:?}"
        );
    }
}

#[test]
fn sec33_keys_in_the_file_are_noticed() {
    let rule = "[[namespace]]\nhosts=[\"h.test\"]\n[[namespace.rule]]\nname=\"r\"\nrights=[\"Send\"]\n";
    assert!(has_keys(&format!("{rule}primary-key=\"k\"")));
    assert!(!has_keys(&format!("{rule}primary-key-file=\"k\"")));
    let entity = rule
        .replace("namespace.rule", "namespace.entity.rule")
        .replace("[[namespace.entity.rule", "[[namespace.entity]]\nname=\"e\"\n[[namespace.entity.rule");
    assert!(has_keys(&format!("{entity}secondary-key=\"k\"")));
    assert!(!has_keys("no configuration"));
}

#[test]
fn sec43_file_at_and_past_the_bound() {
    let text = |bytes: usize| {
        let head = "[[namespace]]\nhosts=[\"h.test\"]\n#";
        format!("{head}{}", "x".repeat(bytes - head.len()))
    };
    assert!(parse(&text(FILE_BYTES_MAX), nothing).is_ok());
    assert!(parse(&text(FILE_BYTES_MAX + 1), nothing).is_err());
    let many = |count: usize| {
        (0..count).map(|i| format!("[[namespace]]\nhosts=[\"h{i}.test\"]\n")).collect::<String>()
    };
    assert!(parse(&many(NAMESPACES_MAX), nothing).is_ok());
    assert!(parse(&many(NAMESPACES_MAX + 1), nothing).is_err());
}

proptest! {
    #[test]
    fn sec44_no_text_panics(text in "(\\[\\[namespace(.rule|.entity|.issuer)?\\]\\]|hosts=|name=|\"[a-z]{0,4}\"|[ -~\n]|ä){0,40}") {
        let _ = parse(&text, |_| Ok(text.clone()));
    }
}
