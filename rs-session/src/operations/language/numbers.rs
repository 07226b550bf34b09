//! Numbers as PowerShell writes them: decimal, hexadecimal, with an exponent, with suffixes for type and size.

use super::Number;

/// Reads a number as Windows PowerShell does: sign, digits or `0x`, point, exponent, the type suffixes `l` and `d`, and a
/// multiplier `KB` to `PB`. `None` if the text is no number, `Some(Err)` if it is one that does not fit.
pub(in crate::operations) fn number(text: &str) -> Option<Result<Number, ()>> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, factor) = split_suffix(rest);
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let (hex, long) = split_type(hex, &['l', 'L']);
        if hex.is_empty() || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        return Some(whole(hexadecimal(hex, long), negative, factor));
    }
    let (digits, suffix) = split_type(digits, &['l', 'L', 'd', 'D']);
    if !is_decimal(digits) {
        return None;
    }
    let is_whole = digits.chars().all(|c| c.is_ascii_digit());
    match suffix {
        Some('d' | 'D') => Some(fraction(digits, negative, factor)),
        None if !is_whole => Some(fraction(digits, negative, factor)),
        // A fraction that is to be a whole number would be rounded: nobody means that.
        Some(_) if !is_whole => Some(Err(())),
        _ => Some(whole(digits.parse().ok(), negative, factor)),
    }
}

fn split_suffix(text: &str) -> (&str, i64) {
    const SUFFIXES: [(&str, u32); 5] = [("kb", 10), ("mb", 20), ("gb", 30), ("tb", 40), ("pb", 50)];
    for (suffix, power) in SUFFIXES {
        if let Some(cut) = text.len().checked_sub(suffix.len())
            && text.is_char_boundary(cut)
            && text[cut..].eq_ignore_ascii_case(suffix)
        {
            return (&text[..cut], 1_i64 << power);
        }
    }
    (text, 1)
}

fn split_type<'a>(text: &'a str, suffixes: &[char]) -> (&'a str, Option<char>) {
    match text.chars().next_back().filter(|last| suffixes.contains(last)) {
        Some(last) => (&text[..text.len() - last.len_utf8()], Some(last)),
        None => (text, None),
    }
}

/// Hexadecimal digits of a whole number: eight and sixteen of them are a sign and the rest, as in PowerShell, where
/// `0xFFFFFFFF` is -1. `None` if they do not fit, or if a suffix makes it unclear which sign is meant.
fn hexadecimal(digits: &str, suffix: Option<char>) -> Option<i128> {
    let value = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16)?;
    let top = digits.as_bytes().first().is_some_and(|digit| !digit.is_ascii_digit() || *digit >= b'8');
    match digits.len() {
        8 | 16 if top && suffix.is_some() => None,
        8 if top => Some(i128::from(value) - (1_i128 << 32)),
        16 if top => Some(i128::from(value) - (1_i128 << 64)),
        _ => Some(i128::from(value)),
    }
}

fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = mantissa.chars().filter(char::is_ascii_digit).count();
    let points = mantissa.chars().filter(|c| *c == '.').count();
    let exponent_fits = exponent.is_none_or(|text| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    });
    digits > 0 && points <= 1 && digits + points == mantissa.chars().count() && exponent_fits
}

fn whole(value: Option<i128>, negative: bool, factor: i64) -> Result<Number, ()> {
    let value = value.ok_or(())?;
    let value = if negative { -value } else { value };
    let value = value.checked_mul(i128::from(factor)).ok_or(())?;
    i64::try_from(value).map(Number::Integer).map_err(|_| ())
}

#[expect(clippy::cast_precision_loss, reason = "the factors are powers of two and exact in a double")]
fn fraction(digits: &str, negative: bool, factor: i64) -> Result<Number, ()> {
    let value: f64 = digits.parse().map_err(|_| ())?;
    let value = value * factor as f64 * if negative { -1.0 } else { 1.0 };
    if value.is_finite() { Ok(Number::Float(value)) } else { Err(()) }
}
