//! What a consent narrows besides its level: whose command lists count, and whether Diagnostics stays read-only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that names no product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no product: give 1 to {max} of the characters a to z, 0 to 9 and -", max = Product::CHARS_MAX)]
pub struct ProductError;

/// The name of a product whose published command lists count, such as `azure-local`.
///
/// Which names there are is known to whoever has the lists; a name without lists permits nothing.
///
/// ```
/// use rs_consent::scope::Product;
/// assert_eq!(Product::default().as_str(), "azure-local");
/// assert!("Azure Local".parse::<Product>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Product(String);

impl Product {
    /// Most characters of a name.
    pub const CHARS_MAX: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Product {
    fn default() -> Self {
        Self("azure-local".to_owned())
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Product {
    type Error = ProductError;

    fn try_from(text: String) -> Result<Self, ProductError> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text))
        } else {
            Err(ProductError)
        }
    }
}

impl FromStr for Product {
    type Err = ProductError;

    fn from_str(text: &str) -> Result<Self, ProductError> {
        text.to_owned().try_into()
    }
}

impl From<Product> for String {
    fn from(product: Product) -> Self {
        product.0
    }
}

/// What a consent narrows besides its level.
///
/// ```
/// use rs_consent::Scope;
/// assert!(Scope::default().strict_read_only);
/// assert!(Scope::as_published().covers(&Scope::default()) && !Scope::default().covers(&Scope::as_published()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Whose lists count. Default `azure-local`.
    pub product: Product,
    /// Whether the commands that change state are taken out of Diagnostics. Default `true`.
    pub strict_read_only: bool,
}

impl Default for Scope {
    fn default() -> Self {
        Self { product: Product::default(), strict_read_only: true }
    }
}

impl Scope {
    /// The lists of Azure Local with nothing taken away: what was consented to before there was a choice.
    #[must_use]
    pub fn as_published() -> Self {
        Self { strict_read_only: false, ..Self::default() }
    }

    /// Whether nothing is narrowed.
    #[must_use]
    pub fn is_as_published(&self) -> bool {
        *self == Self::as_published()
    }

    /// Whether everything that `other` leaves is left by this scope as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.product == other.product && (other.strict_read_only || !self.strict_read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a16_names_of_products_are_bounded() {
        for good in ["azure-local", "a", &"x".repeat(Product::CHARS_MAX)] {
            assert!(good.parse::<Product>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "a\u{1b}", "é", &"x".repeat(Product::CHARS_MAX + 1)] {
            assert!(bad.parse::<Product>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a10_a_scope_covers_what_is_narrower_and_no_other_product() {
        let (strict, published) = (Scope::default(), Scope::as_published());
        let other = Scope { product: "azure-stack-hub-2206".parse().unwrap(), ..Scope::default() };
        for (outer, inner, covers) in [
            (&strict, &strict, true),
            (&published, &strict, true),
            (&strict, &published, false),
            (&published, &other, false),
        ] {
            assert_eq!(outer.covers(inner), covers, "{outer:?} {inner:?}");
        }
    }
}
