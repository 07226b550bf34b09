//! What is masked, what is not, and that it does not matter where a text was cut.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use rs_session::record::{
    Content, FinishedContent, OutputContent, OutputData, RefusalContent, RequestContent,
};
use rs_session::redact::{
    Commitments, ContentMasker, KNOWN_FORMS, MaskKey, Masked, ObjectMasker, PATTERN_BYTES_MAX,
    PATTERNS_BYTES_MAX, PATTERNS_MAX, PIECE_BYTES_MAX, PIECE_MASKS_MAX, Pattern, PatternError, Piece, Rules,
    SECRET_BYTES_MAX, TextMasker, WINDOW_BYTES, parse_patterns,
};
use uuid::Uuid;

static KNOWN: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::known()));
const KEY: MaskKey = MaskKey::from_bytes([7; 32]);
const SESSION: Uuid = Uuid::from_u128(5);

/// An entry of the corpus: form, the text before it, the secret, the text behind it.
struct Case {
    form: &'static str,
    before: &'static str,
    secret: &'static str,
    after: &'static str,
}

impl Case {
    fn text(&self) -> String {
        format!("{}{}{}", self.before, self.secret, self.after)
    }

    fn masked(&self) -> String {
        format!("{}[masked: {}, {} bytes]{}", self.before, self.form, self.secret.len(), self.after)
    }
}

fn corpus() -> Vec<Case> {
    let text = include_str!("corpus/redact/secrets.txt");
    let entries = text.trim_end_matches('\n').split("\n=== ").skip(1);
    entries
        .map(|entry| {
            let (form, text) = entry.split_once('\n').expect("a form and a text");
            let (before, rest) = text.split_once('⟦').expect("a mark");
            let (secret, after) = rest.split_once('⟧').expect("a mark");
            Case { form, before, secret, after }
        })
        .collect()
}

fn commitments() -> Commitments {
    Commitments::new(KEY, SESSION)
}

fn join(pieces: impl IntoIterator<Item = Piece>) -> Piece {
    pieces.into_iter().fold(Piece::default(), |mut all, piece| {
        all.text.push_str(&piece.text);
        all.masked.extend(piece.masked);
        all
    })
}

fn text_in(parts: &[&str], rules: &Arc<Rules>) -> Piece {
    let mut masker = TextMasker::new(Arc::clone(rules));
    let mut commitments = commitments();
    let mut pieces = Vec::new();
    for part in parts {
        pieces.extend(masker.push(part, &mut commitments));
    }
    pieces.extend(masker.finish(&mut commitments));
    join(pieces)
}

fn objects_in(parts: &[&str]) -> Piece {
    let mut masker = ObjectMasker::new(Arc::clone(&KNOWN));
    let mut commitments = commitments();
    let mut pieces = Vec::new();
    for part in parts {
        pieces.extend(masker.push(part, &mut commitments));
    }
    pieces.extend(masker.finish(&mut commitments));
    join(pieces)
}

#[test]
fn sec34_every_known_form_is_masked_and_nothing_around_it() {
    let corpus = corpus();
    let mut failures = Vec::new();
    for case in &corpus {
        let piece = text_in(&[&case.text()], &KNOWN);
        if piece.text != case.masked() || piece.masked.len() != 1 {
            failures.push(format!("--- expected\n{}\n--- got\n{}\n", case.masked(), piece.text));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), corpus.len(), failures.concat());
    for form in KNOWN_FORMS {
        assert!(corpus.iter().any(|case| case.form == form), "{form} has no entry");
    }
}

#[test]
fn sec34_ordinary_texts_pass_byte_for_byte() {
    let mut failures = Vec::new();
    let ordinary = include_str!("corpus/redact/ordinary.txt");
    for line in ordinary.lines() {
        let piece = text_in(&[line], &KNOWN);
        if piece.text != line {
            failures.push(format!("{line}\n  -> {}\n", piece.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.concat());
    assert_eq!(text_in(&[ordinary], &KNOWN), Piece { text: ordinary.to_owned(), masked: Vec::new() });
}

#[test]
fn sec34_a_secret_that_was_cut_in_two_at_any_place_is_masked_the_same() {
    for case in corpus() {
        let text = case.text();
        let whole = text_in(&[&text], &KNOWN);
        for (at, _) in text.char_indices() {
            let (left, right) = text.split_at(at);
            assert_eq!(text_in(&[left, right], &KNOWN), whole, "cut at {at} of {text:?}");
        }
        let characters: Vec<String> = text.chars().map(String::from).collect();
        let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
        assert_eq!(text_in(&characters, &KNOWN), whole);
    }
}

/// What a masker without look-behind would let through.
#[test]
fn sec34_control_without_holding_back_a_cut_secret_escapes() {
    let escaped = corpus().into_iter().filter(|case| {
        let text = case.text();
        let middle = text.floor_char_boundary(case.before.len() + case.secret.len() / 2);
        let (left, right) = text.split_at(middle);
        let apart = join([left, right].map(|part| KNOWN.mask(part, &mut commitments())));
        apart.text != case.masked()
    });
    let (escaped, all) = (escaped.count(), corpus().len());
    assert!(escaped * 10 > all * 9, "{escaped} of {all} would show the cut");
}

#[test]
fn sec34_the_owner_of_the_original_can_prove_what_was_masked() {
    for case in corpus() {
        let piece = text_in(&[&case.text()], &KNOWN);
        let [masked] = piece.masked.as_slice() else { panic!("one place in {}", case.text()) };
        assert_eq!(masked.bytes as usize, case.secret.len());
        assert_eq!(masked.commitment, KEY.commitment(SESSION, masked.number, case.secret.as_bytes()));
        assert_eq!(masked.commitment, MaskKey::open(&KEY.salt(SESSION, 0), case.secret.as_bytes()));
        assert_ne!(masked.commitment, KEY.commitment(SESSION, 1, case.secret.as_bytes()), "salted");
        let other = MaskKey::from_bytes([8; 32]);
        assert_ne!(masked.commitment, other.commitment(SESSION, 0, case.secret.as_bytes()), "keyed");
    }
}

#[test]
fn sec34_masking_twice_is_masking_once() {
    for case in corpus() {
        let once = text_in(&[&case.text()], &KNOWN).text;
        assert_eq!(text_in(&[&once], &KNOWN).text, once);
    }
}

#[test]
fn sec34_in_objects_every_form_is_masked_and_json_stays_json() {
    for case in corpus() {
        let text = case.text();
        let line = format!("{}\n", serde_json::json!({ "Name": "x", "Text": text, "Id": 7 }));
        let whole = objects_in(&[&line]);
        let read: serde_json::Value = serde_json::from_str(&whole.text).expect("JSON");
        assert_eq!(read["Text"], case.masked(), "{text}");
        assert_eq!(read["Id"], 7);
        for (at, _) in line.char_indices() {
            let (left, right) = line.split_at(at);
            assert_eq!(objects_in(&[left, right]), whole, "cut at {at} of {line:?}");
        }
    }
}

#[test]
fn sec34_in_objects_the_name_of_a_property_tells_a_secret() {
    let cases = [
        (r#"{"Password":"hunter2"}"#, r#"{"Password":"[masked: password, 7 bytes]"}"#),
        (r#"{"password" : 12345 , "b":1}"#, r#"{"password" : "[masked: password, 5 bytes]" , "b":1}"#),
        (
            r#"{"Passwords":1,"DbPassword":["a1","b2"],"c":"d"}"#,
            r#"{"Passwords":1,"DbPassword":["[masked: password, 2 bytes]","[masked: password, 2 bytes]"],"c":"d"}"#,
        ),
        (r#"{"client_secret":"a\"b\\c\u0041"}"#, r#"{"client_secret":"[masked: password, 6 bytes]"}"#),
        (
            r#"{"Password":null,"Secret":true,"pwd":"/root"}"#,
            r#"{"Password":null,"Secret":true,"pwd":"/root"}"#,
        ),
        (r#"{"Password":{"IsReadOnly":true,"Length":8}}"#, r#"{"Password":{"IsReadOnly":true,"Length":8}}"#),
        (r#"{"AccessKey":"abcdefgh12345678"}"#, r#"{"AccessKey":"[masked: connection-key, 16 bytes]"}"#),
        (r#"{"Token":"short"}"#, r#"{"Token":"short"}"#),
        (
            r#"{"a":[{"b":"x"},"y"],"Password":"z"}"#,
            r#"{"a":[{"b":"x"},"y"],"Password":"[masked: password, 1 bytes]"}"#,
        ),
        (r#"["Password","not a value"]"#, r#"["Password","not a value"]"#),
        (r#"{"Text":"\ud83d\ude00 \u00e4 \/ \t"}"#, "{\"Text\":\"😀 ä / \\t\"}"),
        (r#"{"Broken":"password=hunter2"#, r#"{"Broken":"password=[masked: password, 7 bytes]"#),
    ];
    for (line, expected) in cases {
        assert_eq!(objects_in(&[line]).text, expected);
        assert_eq!(objects_in(&[line, "\n", line]).text, format!("{expected}\n{expected}"));
    }
}

#[test]
fn sec34_objects_without_secrets_pass_byte_for_byte() {
    let value = serde_json::json!({
        "Name": "a \"quoted\" name\\path\t\u{1}", "List": [1, 2.5, -3e10, null, true, "é😀"], "Deep": { "a": { "b": [] } }
    });
    let line = format!("{value}\n");
    assert_eq!(objects_in(&[&line, &line]), Piece { text: format!("{line}{line}"), masked: Vec::new() });
}

#[test]
fn sec34_lines_of_any_length_are_masked_in_bounded_memory() {
    let case = corpus().into_iter().find(|case| case.form == "service-token").expect("one");
    // The secret at every place around the border of a window, in a line without end.
    for offset in (0..60).chain([SECRET_BYTES_MAX, WINDOW_BYTES]) {
        let front = "x ".repeat((WINDOW_BYTES - SECRET_BYTES_MAX + offset) / 2);
        let text = format!("{front}{}{}", case.text(), " y".repeat(WINDOW_BYTES));
        let expected = format!("{front}{}{}", case.masked(), " y".repeat(WINDOW_BYTES));
        assert!(text_in(&[&text], &KNOWN).text == expected, "offset {offset}");
    }
    // A word that is longer than any secret is masked whole.
    let long = "a1".repeat(SECRET_BYTES_MAX * 10);
    let text = format!("password={long} and more\nnext");
    let piece = text_in(&[&text], &KNOWN);
    assert_eq!(piece.text, format!("password=[masked: password, {} bytes] and more\nnext", long.len()));
    assert_eq!(piece.masked[0].commitment, KEY.commitment(SESSION, 0, long.as_bytes()));
    let objects = objects_in(&[&format!("{{\"Password\":\"{long}\"}}")]);
    assert_eq!(objects.text, format!("{{\"Password\":\"[masked: password, {} bytes]\"}}", long.len()));
}

#[test]
fn sec34_text_is_held_back_no_longer_than_a_line_or_a_window() {
    let mut masker = TextMasker::new(Arc::clone(&KNOWN));
    let mut commitments = commitments();
    assert!(masker.push("no line end yet", &mut commitments).is_empty());
    assert_eq!(join(masker.push("\n", &mut commitments)).text, "no line end yet\n");
    let mut given = 0;
    let mut taken = 0;
    for _ in 0..1000 {
        taken += join(masker.push(&"z ".repeat(500), &mut commitments)).text.len();
        given += 1000;
        assert!(given - taken <= WINDOW_BYTES, "{given} given, {taken} released");
    }
}

#[test]
fn sec34_a_key_that_has_no_end_masks_no_more_than_looks_like_one() {
    let text = "-----BEGIN PRIVATE KEY-----\nQUJD\nthis line is none\npassword of nobody\n";
    let piece = text_in(&[text], &KNOWN);
    assert_eq!(piece.text, "[masked: private-key, 32 bytes]\nthis line is none\npassword of nobody\n");
}

#[test]
fn sec34_released_pieces_fit_into_records() {
    let line = format!("{}\n", "pwd=y;".repeat(40));
    let mut masker = TextMasker::new(Arc::clone(&KNOWN));
    let mut commitments = commitments();
    let text = line.repeat(50);
    let pieces = masker.push(&text, &mut commitments);
    assert!(pieces.len() > 1);
    for piece in &pieces {
        assert!(piece.text.len() <= PIECE_BYTES_MAX + 64 && piece.masked.len() <= PIECE_MASKS_MAX);
        assert_eq!(piece.text.matches("[masked: ").count(), piece.masked.len(), "each with its own");
    }
    assert_eq!(commitments.count(), 2000);
    let worst = "\"".repeat(PIECE_BYTES_MAX * 2);
    for piece in masker.push(&worst, &mut commitments) {
        assert!(piece.text.len() <= PIECE_BYTES_MAX);
    }
}

#[test]
fn a11_the_owner_adds_patterns_and_each_bound_holds() {
    let file = "# tickets\n\nticket   \\bTCK-[0-9]{6}\\b\npin  (?i)pin is (?P<secret>[0-9]{4,8})\n";
    let rules = Arc::new(Rules::with(parse_patterns(file).expect("patterns")));
    let piece = text_in(&["see TCK-123456; the PIN is 2468, password=a"], &rules);
    assert_eq!(
        piece.text,
        "see [masked: ticket, 10 bytes]; the PIN is [masked: pin, 4 bytes], password=[masked: password, 1 bytes]"
    );
    for (file, line, error) in [
        ("x", 1, PatternError::Name),
        ("Upper a", 1, PatternError::Name),
        (&format!("{} a", "n".repeat(41)), 1, PatternError::Name),
        ("ok a\nempty a*", 2, PatternError::Empty),
        (&format!("long {}", "a".repeat(PATTERN_BYTES_MAX + 1)), 1, PatternError::TooLong),
        (&"p a\n".repeat(PATTERNS_MAX + 1), PATTERNS_MAX + 1, PatternError::TooMany),
        (&"#".repeat(PATTERNS_BYTES_MAX + 1), 1, PatternError::FileTooLong),
    ] {
        assert_eq!(parse_patterns(file).expect_err(file), (line, error));
    }
    assert!(matches!(Pattern::new("big", "(?:a{1000}){1000}"), Err(PatternError::Expression(_))));
    assert!(matches!(Pattern::new("bad", "("), Err(PatternError::Expression(_))));
    Pattern::new("long", &"a".repeat(PATTERN_BYTES_MAX)).expect("at the bound");
    assert_eq!(parse_patterns(&"p a\n".repeat(PATTERNS_MAX)).expect("at the bound").len(), PATTERNS_MAX);
    parse_patterns(&"#".repeat(PATTERNS_BYTES_MAX)).expect("at the bound");
}

fn told(passed: Vec<(Content, Vec<Masked>)>) -> (Vec<Content>, usize) {
    let count = passed.iter().map(|(_, masked)| masked.len()).sum();
    (passed.into_iter().map(|(content, _)| content).collect(), count)
}

#[test]
fn sec34_contents_are_masked_wherever_a_secret_can_stand() {
    let mut masker = ContentMasker::new(Arc::clone(&KNOWN), KEY, SESSION);
    let request = Content::Request(RequestContent {
        invocation: 1,
        line: "Set-Thing -Password hunter2 -Count 3".into(),
        plan: serde_json::json!([{ "operation": "Set-Thing", "parameters": [["Password", "hunter2"], ["Count", 3]] }]),
        access_level: rs_consent::AccessLevel::Diagnostics,
    });
    let (contents, count) = told(masker.pass(request));
    let [Content::Request(request)] = contents.as_slice() else { panic!("one request") };
    assert_eq!(request.line, "Set-Thing -Password [masked: password, 7 bytes] -Count 3");
    assert!(!request.plan.to_string().contains("hunter2") && request.plan.to_string().contains('3'));
    assert_eq!(count, 2);

    let refusal = Content::Refusal(RefusalContent {
        invocation: 2,
        line: "net user bob hunter2".into(),
        code: "unknown".into(),
        column: None,
        message: "'hunter2' is not known".into(),
    });
    let (contents, _) = told(masker.pass(refusal));
    assert!(!format!("{contents:?}").contains("hunter2"));

    let output = |data| Content::Output(OutputContent { invocation: 3, data });
    assert!(masker.pass(output(OutputData::Text("pass".into()))).is_empty());
    assert!(masker.pass(output(OutputData::Error("pwd=e".into()))).is_empty());
    assert!(masker.pass(output(OutputData::Text("word: a b".into()))).is_empty());
    let finished = Content::Finished(FinishedContent {
        measures: Vec::new(),
        invocation: 3,
        status: rs_session::operations::wire::Status::Failed,
        elapsed_ms: 1,
        message: "login as sa with password=hunter2 failed".into(),
    });
    let (contents, count) = told(masker.pass(finished));
    assert_eq!(contents.len(), 3, "what was held back comes before the end: {contents:?}");
    assert_eq!(contents[0], output(OutputData::Text("password: [masked: password, 3 bytes]".into())));
    assert_eq!(contents[1], output(OutputData::Error("pwd=[masked: password, 1 bytes]".into())));
    assert_eq!(count, 3);
    assert!(!format!("{contents:?}").contains("hunter2"));
}

fn secrets_and_noise() -> impl Strategy<Value = String> {
    let corpus: Vec<String> = corpus().iter().map(Case::text).collect();
    let noise = "[a-zA-Z0-9 =:;,\"'{}\\\\/\n\t._-]{0,40}|\\PC{0,10}";
    prop::collection::vec(prop_oneof![prop::sample::select(corpus), noise], 0..12)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sec34_where_a_text_is_cut_makes_no_difference(text in secrets_and_noise(), cuts in prop::collection::vec(0usize..4000, 0..8)) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut % (text.len() + 1))).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let parts: Vec<&str> = places.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
        prop_assert_eq!(text_in(&parts, &KNOWN), text_in(&[&text], &KNOWN));
        prop_assert_eq!(objects_in(&parts), objects_in(&[&text]));
    }

    /// Lines that pass together are those that pass when each is looked at: a character at a time none passes unseen.
    #[test]
    fn sec34_lines_that_pass_together_would_pass_alone(text in secrets_and_noise()) {
        let characters: Vec<&str> = text.split("").collect();
        prop_assert_eq!(text_in(&characters, &KNOWN), text_in(&[&text], &KNOWN));
    }

    /// Whole chunks that go by as they are would have come out as they are, whatever went by before.
    #[test]
    fn sec34_a_sessions_output_is_masked_as_its_text_is(text in secrets_and_noise(), cuts in prop::collection::vec(0usize..4000, 0..8)) {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut % (text.len() + 1))).collect();
        places.extend(ends.step_by(2));
        places.extend([0, text.len()]);
        places.sort_unstable();
        let mut masker = ContentMasker::new(Arc::clone(&KNOWN), KEY, SESSION);
        let mut contents = Vec::new();
        for ends in places.windows(2) {
            let data = OutputData::Text(text[ends[0]..ends[1]].to_owned());
            contents.extend(masker.pass(Content::Output(OutputContent { invocation: 3, data })));
        }
        contents.extend(masker.pass(Content::Finished(FinishedContent {
            measures: Vec::new(),
            invocation: 3,
            status: rs_session::operations::wire::Status::Done,
            elapsed_ms: 1,
            message: String::new(),
        })));
        let shown: String = contents.iter().filter_map(|(content, _)| match content {
            Content::Output(output) => Some(output.data.text()),
            _ => None,
        }).collect();
        prop_assert_eq!(shown, text_in(&[&text], &KNOWN).text);
    }

    /// Nothing but masked places changes: the text is the original with each masked span exchanged, and every span opens.
    #[test]
    fn sec34_every_mask_opens_to_what_stood_there(text in secrets_and_noise()) {
        let piece = text_in(&[&text], &KNOWN);
        let mut rest = text.as_str();
        let mut shown = piece.text.as_str();
        for masked in &piece.masked {
            let marker = format!("[masked: {}, {} bytes]", masked.form, masked.bytes);
            let (before, after) = shown.split_once(&marker).expect("its marker");
            prop_assert!(rest.starts_with(before));
            let secret = &rest.as_bytes()[before.len()..before.len() + masked.bytes as usize];
            prop_assert_eq!(masked.commitment, KEY.commitment(SESSION, masked.number, secret));
            rest = &rest[before.len() + secret.len()..];
            shown = after;
        }
        prop_assert_eq!(rest, shown);
    }

    #[test]
    fn sec34_objects_stay_json(values in prop::collection::vec(("[A-Za-z]{0,12}|Password|ApiKey", secrets_and_noise()), 0..6)) {
        let object: serde_json::Map<_, _> = values.into_iter().map(|(name, text)| (name, text.into())).collect();
        let line = serde_json::Value::from(object).to_string();
        let masked = objects_in(&[&line]).text;
        prop_assert!(serde_json::from_str::<serde_json::Value>(&masked).is_ok(), "{}", masked);
    }
}
