//! The forms of secrets that are known without being told, as data.
//!
//! The secret is the first group that takes part in the match, or the whole match where there is none. Every form sees one
//! line. What a form cannot say as an expression is in its [`Check`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Names of the known forms, as they stand in markers. `private-key` can reach over several lines.
pub const KNOWN_FORMS: [&str; 18] = [
    "authorization",
    "aws-key",
    "azure-key",
    "bearer-token",
    "bitlocker-recovery-key",
    "connection-key",
    "cookie",
    "jwt",
    "kubernetes-secret",
    "password",
    "password-hash",
    "private-key",
    "product-key",
    "protected-string",
    "sas-token",
    "service-token",
    "url-password",
    "xml-secret",
];

/// What a match must still satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing more.
    None,
    /// Not one of the words that stand where no secret is.
    Password,
    /// As [`Check::Password`]; the value is the rest of its field, whatever stands in it.
    Field,
    /// As [`Check::Password`], and not a number: `pass: 12, fail: 3`.
    Word,
    /// Looks like a key: at least 16 characters, letters and digits.
    Key,
    /// User and password in base64.
    Basic,
    /// Goes on over the lines that follow, if its end was not found in this one.
    Block,
}

pub(super) struct Form {
    pub(super) name: &'static str,
    /// The expression is tried only where one of these stands, whatever its case; none: always.
    pub(super) hints: &'static [&'static str],
    pub(super) expression: &'static str,
    pub(super) check: Check,
}

macro_rules! before {
    () => {
        r#"(?:^|[^A-Za-z0-9_])"#
    };
}
macro_rules! prefix {
    () => {
        r#"[A-Za-z0-9_.\-]{0,64}?"#
    };
}
/// Names of passwords: whatever stands behind them is one.
macro_rules! password {
    () => {
        r#"(?:pass[_\-]?(?:word|phrase|code)|passwd|pwd|secret(?:[_\-]?(?:value|text))?)"#
    };
}
/// Names of keys: what stands behind them is one if it looks like one.
macro_rules! key {
    () => {
        r#"(?:(?:account|access|api|secret|private|primary|secondary|master|encryption|decryption|validation|subscription|storage|function|signing|symmetric)[_\- ]?key|key[_\- ]?(?:content|material|data)|token|credentials?|_?auth)"#
    };
}
macro_rules! separator {
    () => {
        r#"["']?[ \t]{0,40}(?:=>|:=|=|:)[ \t]{0,40}"#
    };
}
macro_rules! value {
    () => {
        r#"(?:"((?:[^"\\]|\\.)+)"?|'([^']+)'?|([^\s"'`;<>|]+))"#
    };
}
macro_rules! key_value {
    () => {
        r#"["']?([A-Za-z0-9+/_.~%!\-]+={0,2})"#
    };
}

const fn form(
    name: &'static str,
    hints: &'static [&'static str],
    expression: &'static str,
    check: Check,
) -> Form {
    Form { name, hints, expression, check }
}

/// Hints of [`password!`] and [`key!`].
const PASSWORD: &[&str] = &["pass", "pwd", "secret"];
const KEY: &[&str] = &["key", "token", "credential", "auth"];

/// What lines hold after which others are read in another way: a Kubernetes object.
pub(super) const BLOCK_HINTS: [&str; 1] = ["data:"];

pub(super) const FORMS: &[Form] = &[
    form(
        "private-key",
        &["PRIVATE KEY"],
        r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}(?:.*?-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|.*)",
        Check::Block,
    ),
    form("private-key", &["Private-Lines:"], r"^Private-Lines:[ \t]*[0-9]+()$", Check::Block),
    form("private-key", &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[0-9A-Z]{58}", Check::None),
    form(
        "jwt",
        &["eyJ"],
        r"(?-u:\b)eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){1,3}",
        Check::None,
    ),
    form(
        "authorization",
        &["authorization"],
        concat!(
            r#"(?i)(?:proxy-)?authorization["']?[ \t]*[:=][ \t]*["']?"#,
            r#"(?:basic|bearer|digest|negotiate|ntlm|sharedkey(?:lite)?|sharedaccesssignature|token|apikey|aws4-hmac-sha256)[ \t]+([^"'<>\s][^"'<>]*)"#
        ),
        Check::Field,
    ),
    form(
        "authorization",
        &["authorization"],
        r#"(?i)authorization["']?[ \t]*[:=][ \t]*["']?([A-Za-z0-9+/_.~-]+={0,2})"#,
        Check::Key,
    ),
    form("authorization", &["basic"], r"(?i)(?-u:\b)basic[ \t]+([A-Za-z0-9+/]{6,}={0,2})", Check::Basic),
    form("bearer-token", &["bearer"], r"(?i)(?-u:\b)bearer[ \t]+([A-Za-z0-9._~+/-]+={0,2})", Check::Key),
    form("cookie", &["cookie"], r"(?i)(?-u:\b)(?:set-)?cookie[ \t]*:[ \t]*([^\s;=]+=.+)", Check::None),
    form(
        "sas-token",
        &["sig="],
        r#"(?i)(?:^|[?&; \t"'>]|%26|\\u0026)sig=([A-Za-z0-9%+/_-]{16,}={0,2})"#,
        Check::None,
    ),
    form(
        "connection-key",
        &["AccountKey", "SharedAccessKey", "SharedSecret", "AccessKey"],
        r#"(?i)(?-u:\b)(?:AccountKey|SharedAccessKey|SharedSecretValue|SharedSecretIssuerSecret|AccessKey)[ \t]*=[ \t]*([A-Za-z0-9+/_.~%-]+={0,2})"#,
        Check::None,
    ),
    form(
        "url-password",
        &["://"],
        r#"(?-u:\b)[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/?#@:"'<>]*:([^\s/?#"'<>]+)@"#,
        Check::Field,
    ),
    form("bitlocker-recovery-key", &[], r"(?-u:\b)(?:[0-9]{6}-){7}[0-9]{6}(?-u:\b)", Check::None),
    form(
        "product-key",
        &[],
        r"(?-u:\b)[BCDFGHJKMNPQRTVWXY2-9]{5}(?:-[BCDFGHJKMNPQRTVWXY2-9]{5}){4}(?-u:\b)",
        Check::None,
    ),
    form("aws-key", &["AKIA", "ASIA"], r"(?-u:\b)(?:AKIA|ASIA)[A-Z2-7]{16}(?-u:\b)", Check::None),
    form(
        "azure-key",
        &["APIM", "ACDb", "+ABa", "+AMC", "+ASt"],
        r"[A-Za-z0-9/+]{76}(?:APIM|ACDb|\+(?:ABa|AMC|ASt))[A-Za-z0-9/+]{5}[AQgw]==",
        Check::None,
    ),
    form(
        "azure-key",
        &["AIoT", "+ASb", "+AEh", "+ARm"],
        r"[A-Za-z0-9/+]{33}(?:AIoT|\+(?:ASb|AEh|ARm))[A-P][A-Za-z0-9/+]{5}=",
        Check::None,
    ),
    form("azure-key", &["AzFu"], r"[A-Za-z0-9_-]{44}AzFu[A-Za-z0-9_-]{5}[AQgw]==", Check::None),
    form("azure-key", &["AzSe"], r"[A-Za-z0-9]{42}AzSe[A-D][A-Za-z0-9]{5}", Check::None),
    form(
        "azure-key",
        &["JQQJ9"],
        r"[A-Za-z0-9]{52}JQQJ9[9DH][A-Za-z0-9][A-L][A-Za-z0-9]{16}[A-Za-z][A-Za-z0-9]{7}(?:[A-Za-z0-9]{2}==)?",
        Check::None,
    ),
    form("azure-key", &["Q~"], r"(?-u:\b)[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}", Check::None),
    form("azure-key", &["AZDO"], r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}", Check::None),
    form(
        "service-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"(?-u:\b)gh[pousr]_[A-Za-z0-9]{36,255}",
        Check::None,
    ),
    form("service-token", &["github_pat_"], r"(?-u:\b)github_pat_[A-Za-z0-9_]{22,255}", Check::None),
    form("service-token", &["glpat-"], r"(?-u:\b)glpat-[A-Za-z0-9_-]{20,}", Check::None),
    form("service-token", &["xox"], r"(?-u:\b)xox[abeoprs]-[A-Za-z0-9-]{10,}", Check::None),
    form("service-token", &["hooks.slack"], r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})", Check::None),
    form("service-token", &["npm_"], r"(?-u:\b)npm_[A-Za-z0-9]{36}", Check::None),
    form("service-token", &["pypi-"], r"(?-u:\b)pypi-AgE[A-Za-z0-9_-]{50,}", Check::None),
    form("service-token", &["dckr_"], r"(?-u:\b)dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}", Check::None),
    form("service-token", &["AIza"], r"(?-u:\b)AIza[A-Za-z0-9_-]{35}", Check::None),
    form("service-token", &["ya29."], r"(?-u:\b)ya29\.[A-Za-z0-9_-]{20,}", Check::None),
    form(
        "service-token",
        &["_live_", "_test_"],
        r"(?-u:\b)(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
        Check::None,
    ),
    form("service-token", &["sk-"], r"(?-u:\b)sk-(?:[a-z]{2,8}-)?[A-Za-z0-9_-]{32,}", Check::None),
    form("service-token", &["hvs.", "hvb.", "hvr."], r"(?-u:\b)hv[sbr]\.[A-Za-z0-9_-]{24,}", Check::None),
    form("service-token", &["SG."], r"(?-u:\b)SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", Check::None),
    form("service-token", &["_v1_"], r"(?-u:\b)do[opr]_v1_[a-f0-9]{64}", Check::None),
    form(
        "password-hash",
        &["$"],
        r"\$(?:1|2[abxy]|5|6|7|y|argon2(?:id|i|d)|scrypt)\$[A-Za-z0-9./$=,+-]{20,}",
        Check::None,
    ),
    form("password-hash", &[":::"], r"(?i)(?-u:\b)([0-9a-f]{32}:[0-9a-f]{32}):::", Check::None),
    form(
        "protected-string",
        &["01000000d08c9ddf"],
        r"(?i)01000000d08c9ddf0115d1118c7a00c04fc297eb[0-9a-f]+",
        Check::None,
    ),
    form(
        "xml-secret",
        PASSWORD,
        concat!(
            r"(?i)<[a-z0-9_:.\-]{0,64}",
            password!(),
            r"(?:[ \t][^<>]*)?>[ \t]*(?:<value>)?([^<>\s][^<>]*)"
        ),
        Check::Password,
    ),
    form(
        "xml-secret",
        &["<D>", "<P>", "<Q>", "<DP>", "<DQ>", "<InverseQ>"],
        r"<(?:D|P|Q|DP|DQ|InverseQ)>([A-Za-z0-9+/=]{20,})</",
        Check::None,
    ),
    form(
        "password",
        &["ConvertTo-SecureString"],
        r#"(?i)ConvertTo-SecureString(?:[ \t]+-(?:AsPlainText|Force))*[ \t]+(?:-(?:String|Str)[ \t]+)?(?:"([^"]+)"?|'([^']+)'?|([^\s"'$(@|;-][^\s|;)]*))"#,
        Check::Password,
    ),
    form(
        "password",
        &["ConvertTo-SecureString"],
        r#"(?i)(?:"([^"]+)"|'([^']+)')[ \t]*\|[ \t]*ConvertTo-SecureString"#,
        Check::Password,
    ),
    // A list, a YAML file: the value is the rest of the line.
    form(
        "password",
        PASSWORD,
        concat!(r"(?i)^[ \t]*(?:-[ \t]+)?", prefix!(), password!(), r"[ \t]*:[ \t]+(\S.*?)[ \t]*$"),
        Check::Password,
    ),
    form("password", PASSWORD, concat!("(?i)", password!(), separator!(), value!()), Check::Password),
    form(
        "password",
        PASSWORD,
        concat!("(?i)", before!(), r"(?:[A-Za-z0-9]{1,32}[_.\-])?pass", separator!(), value!()),
        Check::Word,
    ),
    form("connection-key", KEY, concat!("(?i)", key!(), separator!(), key_value!()), Check::Key),
    // Arguments of commands.
    form(
        "password",
        PASSWORD,
        concat!(
            r"(?i)(?:^|[\s'(])(?:--?|/)[A-Za-z0-9\-]{0,40}?(?:",
            password!(),
            r#"|pass)(?:[ \t]+|[=:])(?:"([^"]+)"?|'([^']+)'?|([^\s"'(@/|;-][^\s|;)]*))"#
        ),
        Check::Password,
    ),
    form(
        "connection-key",
        KEY,
        concat!(r"(?i)(?:^|[\s'(])(?:--?|/)[A-Za-z0-9\-]{0,40}?", key!(), r"(?:[ \t]+|[=:])", key_value!()),
        Check::Key,
    ),
    form(
        "password",
        &["net"],
        r"(?i)(?-u:\b)net1?(?:\.exe)?[ \t]+user[ \t]+[^\s/]+[ \t]+([^\s/*]\S*)",
        Check::Password,
    ),
    form(
        "password",
        &["curl"],
        r#"(?i)(?-u:\b)curl\b.*?[ \t](?:-u|--user)[ \t=]+["']?[^\s:"']+:([^\s"']+)"#,
        Check::Password,
    ),
    form(
        "password",
        &["sqlcmd", "bcp", "osql"],
        r"(?-u:\b)(?:sqlcmd|bcp|osql)(?:\.exe)?\b.*?[ \t]-P[ \t]*(\S+)",
        Check::Password,
    ),
    form(
        "password",
        &["mysql", "sshpass"],
        r"(?-u:\b)(?:mysql|mysqldump|mysqladmin|sshpass)\b.*?[ \t]-p[ \t]?([^\s-]\S*)",
        Check::Password,
    ),
];

/// Names whose value is a password, whatever it looks like; and names whose value is a key, if it looks like one. For
/// properties of objects.
pub(super) const PASSWORD_NAME: &str =
    concat!("(?i)^(?:", r"[A-Za-z0-9_.\- ]{0,64}?", password!(), r"|(?:[A-Za-z0-9]{1,32}[_.\-])?pass)$");
pub(super) const KEY_NAME: &str = concat!("(?i)^", r"[A-Za-z0-9_.\- ]{0,64}?", key!(), "$");

/// Tokens that are no secrets: they name a version, or a place in a list.
const OPEN_TOKENS: [&str; 6] =
    ["publickeytoken", "nexttoken", "continuationtoken", "skiptoken", "pagetoken", "synctoken"];

/// Fewest characters of something that looks like a key.
const KEY_CHARS_MIN: usize = 16;

impl Check {
    /// Whether `secret`, found behind `name`, is one.
    pub(super) fn accepts(self, name: &str, secret: &str) -> bool {
        match self {
            Self::None | Self::Block => true,
            Self::Field => !is_placeholder(secret),
            Self::Password => !is_placeholder(secret) && !is_folder(name, secret),
            Self::Word => {
                !is_placeholder(secret)
                    && !secret.bytes().all(|byte| byte.is_ascii_digit() || b",.%".contains(&byte))
            }
            Self::Key => looks_like_a_key(secret) && !is_open_token(name),
            Self::Basic => is_basic(secret),
        }
    }
}

fn looks_like_a_key(text: &str) -> bool {
    text.len() >= KEY_CHARS_MIN
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !is_placeholder(text)
}

fn is_open_token(name: &str) -> bool {
    let lower: String =
        name.chars().take(40).filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    OPEN_TOKENS.iter().any(|open| lower.starts_with(open))
}

/// `PWD=/root` in an environment is where somebody stands.
fn is_folder(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let drive = value.as_bytes().get(1..3).is_some_and(|bytes| bytes == b":\\" || bytes == b":/");
    (name.starts_with("pwd") || name.starts_with("oldpwd")) && (value.starts_with(['/', '~']) || drive)
}

/// Words, variables and stars that stand where no secret is.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 24] = [
        "true", "false", "null", "none", "nil", "yes", "no", "never", "always", "required", "optional",
        "not", "unknown", "n/a", "-", "--", "...", "redacted", "(none)", "(null)", "{}", "[]", "@{}",
        "enabled",
    ];
    let value = value.trim().trim_end_matches([',', ';', '.', ')']).trim_matches(['"', '\'']);
    let lower = value.to_ascii_lowercase();
    value.is_empty()
        || WORDS.contains(&lower.as_str())
        || value.starts_with(super::MARKER_BEGIN)
        || value == super::MARKER_BEGIN.trim_end()
        || value.chars().all(|char| matches!(char, '*' | '•' | 'x' | 'X' | '.' | '#'))
        || (value.starts_with('<') && value.ends_with('>'))
        || lower.starts_with("system.")
        || lower.starts_with("microsoft.")
        || is_variable(&lower)
}

/// `$password`, `${DB_SECRET}`, `$env:TOKEN`, `%PASSWORD%`, `{{ secret }}`: a name for it and not the thing.
fn is_variable(lower: &str) -> bool {
    let inner = if let Some(rest) = lower.strip_prefix("{{") {
        rest.strip_suffix("}}").unwrap_or(rest)
    } else if let Some(rest) = lower.strip_prefix('%') {
        let Some(rest) = rest.strip_suffix('%') else { return false };
        rest
    } else if let Some(rest) = lower.strip_prefix('$') {
        rest.trim_start_matches(['{', '(']).trim_end_matches(['}', ')'])
    } else {
        return false;
    };
    let named = ["pass", "pw", "cred", "secret", "key", "token", "env:", "values."]
        .iter()
        .any(|word| inner.contains(word));
    named && inner.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:- ".contains(&byte))
}

fn is_basic(text: &str) -> bool {
    let padded = format!(
        "{}{}",
        text.trim_end_matches('='),
        "=".repeat(text.trim_end_matches('=').len().wrapping_neg() % 4)
    );
    STANDARD
        .decode(padded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|text| text.contains(':') && !text.chars().any(char::is_control))
}
