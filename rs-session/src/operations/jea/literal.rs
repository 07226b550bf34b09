//! Text as a PowerShell literal that nothing can break out of.

use crate::operations::objects::is_harmful;

/// Text between single quotes: quotes doubled, typographic ones too, as PowerShell takes each of them for a quote;
/// characters that cannot be seen, line breaks among them, left out.
///
/// ```
/// use rs_session::operations::jea::literal;
/// assert_eq!(literal("O'Brien\n"), "'O''Brien'");
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars().filter(|c| !is_harmful(*c) && !matches!(c, '\n' | '\t')) {
        literal.push(c);
        if is_quote(c) {
            literal.push(c);
        }
    }
    literal.push('\'');
    literal
}

/// Literals joined by commas.
pub(crate) fn literals<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(literal).collect::<Vec<_>>().join(", ")
}

/// True for what PowerShell takes for a single quote.
pub(super) const fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}'..='\u{201b}')
}
