//! The products that have lists.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Product whose lists are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Variant {
    /// Azure Local, the newest lists; the default.
    #[default]
    AzureLocal,
    /// Azure Stack HCI 22H2 and 21H2.
    #[serde(rename = "azure-stack-hci-22h2")]
    AzureStackHci22h2,
    /// Azure Stack HCI 21H2 and 20H2, preview.
    #[serde(rename = "azure-stack-hci-21h2-preview")]
    AzureStackHci21h2Preview,
    /// Azure Stack Hub 2206.
    #[serde(rename = "azure-stack-hub-2206")]
    AzureStackHub2206,
    /// Azure Stack Hub 2108, preview.
    #[serde(rename = "azure-stack-hub-2108-preview")]
    AzureStackHub2108Preview,
    /// Azure Stack Edge 2110.
    #[serde(rename = "azure-stack-edge-2110")]
    AzureStackEdge2110,
}

impl Variant {
    /// Every variant, the default first.
    pub const ALL: &'static [Self] = &[
        Self::AzureLocal,
        Self::AzureStackHci22h2,
        Self::AzureStackHci21h2Preview,
        Self::AzureStackHub2206,
        Self::AzureStackHub2108Preview,
        Self::AzureStackEdge2110,
    ];

    /// The name in settings and on record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AzureLocal => "azure-local",
            Self::AzureStackHci22h2 => "azure-stack-hci-22h2",
            Self::AzureStackHci21h2Preview => "azure-stack-hci-21h2-preview",
            Self::AzureStackHub2206 => "azure-stack-hub-2206",
            Self::AzureStackHub2108Preview => "azure-stack-hub-2108-preview",
            Self::AzureStackEdge2110 => "azure-stack-edge-2110",
        }
    }
}

/// A product that has no lists here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no lists of that product; there are those of {}", Variant::ALL.iter().map(|own| own.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownVariant;

impl std::str::FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        Self::ALL.iter().copied().find(|own| own.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownVariant)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
