//! What Windows says about its proxies: `netsh winhttp show proxy`, `Get-WinhttpProxy`, `reg query`.
//!
//! The words are translated and the spacing varies, so the table is read by its layout: the value behind the first
//! colon that has a blank on a side, in the order proxy, bypass.

/// The settings of WinHTTP, or of WinINET, which has the same two texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowsProxy {
    /// `[scheme=][scheme://]host[:port]`, separated by `;` or blanks; none means direct.
    pub proxy: Option<String>,
    /// The bypass list as written.
    pub bypass: Option<String>,
    /// Address of a PAC file.
    pub pac: Option<String>,
    /// Line of the bypass list in the text, from 1.
    pub bypass_line: u32,
}

impl WindowsProxy {
    /// The proxy for HTTPS targets, out of a list such as `http=a:1;https=b:2`.
    ///
    /// # Examples
    ///
    /// ```
    /// use rs_proxy::settings::winhttp::WindowsProxy;
    ///
    /// let both = WindowsProxy { proxy: Some("http=a:3128;https=b:3129".into()), ..Default::default() };
    /// assert_eq!(both.https_proxy(), Some("b:3129"));
    /// ```
    #[must_use]
    pub fn https_proxy(&self) -> Option<&str> {
        let entries =
            || self.proxy.as_deref().unwrap_or_default().split([';', ' ', '\t']).filter(|e| !e.is_empty());
        let named = entries().find_map(|e| e.strip_prefix("https="));
        named.or_else(|| entries().find(|e| !e.contains('=')))
    }
}

/// Reads the output of `netsh winhttp show proxy` or `Get-WinhttpProxy` in any language, or of `reg query` of the
/// `Internet Settings` key. `None` when the text is neither.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::winhttp;
///
/// let text = "Current WinHTTP proxy settings:\n\n    Proxy Server(s) :  http://10.0.0.1:8080\n    Bypass List     :  *.contoso.com;node1\n";
/// let settings = winhttp::parse(text).unwrap();
/// assert_eq!(settings.https_proxy(), Some("http://10.0.0.1:8080"));
/// assert_eq!(settings.bypass.as_deref(), Some("*.contoso.com;node1"));
/// let direct = winhttp::parse("Current WinHTTP proxy settings:\n\n    Direct access (no proxy server).\n").unwrap();
/// assert_eq!(direct.proxy, None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<WindowsProxy> {
    let text = text.trim_start_matches('\u{feff}');
    if text.contains("REG_SZ") || text.contains("REG_DWORD") {
        return Some(registry(text));
    }
    if !text.to_ascii_lowercase().contains("winhttp") {
        return None;
    }
    let mut values = (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, value(line)?)));
    let (_, proxy) = values.next().unwrap_or_default();
    let (bypass_line, bypass) = values.next().unwrap_or((1, String::new()));
    let given = |text: String| Some(text).filter(|t| !t.is_empty() && !t.starts_with('('));
    Some(WindowsProxy { proxy: given(proxy), bypass: given(bypass), pac: None, bypass_line })
}

/// The value of a table line: indented, and behind a colon with blanks around.
fn value(line: &str) -> Option<String> {
    if !line.starts_with([' ', '\t']) {
        return None;
    }
    let at = line
        .match_indices(':')
        .map(|(at, _)| at)
        .find(|&at| line[at + 1..].starts_with([' ', '\t', '\u{a0}']))?;
    Some(line[at + 1..].trim().to_owned())
}

/// `reg query` of `…\Internet Settings`.
fn registry(text: &str) -> WindowsProxy {
    let value = |name: &str| {
        text.lines().zip(1..).find_map(|(line, number)| {
            let mut words = line.trim().splitn(2, char::is_whitespace);
            if !words.next()?.eq_ignore_ascii_case(name) {
                return None;
            }
            let rest = words.next()?.trim_start();
            let (_, data) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            Some((number, data.trim().to_owned()))
        })
    };
    let enabled = value("ProxyEnable").is_none_or(|(_, data)| !matches!(data.as_str(), "0x0" | "0"));
    let (bypass_line, bypass) = value("ProxyOverride").map_or((1, None), |(line, data)| (line, Some(data)));
    WindowsProxy {
        proxy: value("ProxyServer").map(|(_, data)| data).filter(|data| enabled && !data.is_empty()),
        bypass: bypass.filter(|data| !data.is_empty()),
        pac: value("AutoConfigURL").map(|(_, data)| data).filter(|data| !data.is_empty()),
        bypass_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_translated_tables_read_the_same() {
        for text in [
            "Current WinHTTP proxy settings:\r\n\r\n    Proxy Server(s) :  http://p:8080\r\n    Bypass List     :  a;*.b\r\n",
            "Paramètres proxy actuels de WinHTTP :\n\n    Serveur(s) proxy :  http://p:8080\n    Liste de contournement : a;*.b\n",
            "\u{feff}WinHTTP\n  Servidor(es) Proxy:  http://p:8080\n  Lista: a;*.b\n",
        ] {
            let settings = parse(text).unwrap();
            assert_eq!(settings.https_proxy(), Some("http://p:8080"), "{text}");
            assert_eq!(settings.bypass.as_deref(), Some("a;*.b"), "{text}");
        }
        let none = parse("WinHTTP\n    Proxy :  p:1\n    Bypass List :  (none)\n").unwrap();
        assert_eq!(none.bypass, None);
        assert_eq!(parse("nothing of the kind"), None);
    }

    #[test]
    fn p11_the_registry_reads_too() {
        let text = "HKEY_LOCAL_MACHINE\\...\n    ProxyEnable    REG_DWORD    0x1\n    ProxyServer    REG_SZ    http=a:1;https=b:2\n    \
                    ProxyOverride    REG_SZ    *.c;<local>\n    AutoConfigURL    REG_SZ    http://p/x.pac\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.https_proxy(), Some("b:2"));
        assert_eq!(settings.bypass.as_deref(), Some("*.c;<local>"));
        assert_eq!(settings.pac.as_deref(), Some("http://p/x.pac"));
        assert_eq!(parse(&text.replace("0x1", "0x0")).unwrap().proxy, None);
    }
}
