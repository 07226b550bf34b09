//! Did you mean: the nearest permitted name, and words for commands that are known elsewhere.

use super::Context;

/// Names that people know and that no session has, with what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ForEach-Object", "it takes script blocks; choose properties with Select-Object"),
    ("%", "it takes script blocks; choose properties with Select-Object"),
    ("foreach", "it takes script blocks; choose properties with Select-Object"),
    ("Invoke-Expression", "no session runs text"),
    ("iex", "no session runs text"),
    ("Invoke-Command", "a session reaches this node only"),
    ("Enter-PSSession", "a session reaches this node only"),
    ("New-PSSession", "a session reaches this node only"),
    ("Start-Process", "no session starts programs"),
    ("Start-Job", "no session starts background work"),
    ("New-Object", "no session makes objects of its own"),
    ("Add-Type", "no session loads code"),
    ("Import-Module", "everything that is permitted is there already"),
    ("Get-Content", "files cannot be read"),
    ("Get-ChildItem", "files cannot be listed"),
    ("Get-Item", "files cannot be read"),
    ("Set-Content", "files cannot be written"),
    ("Out-File", "files cannot be written; output stays in the session"),
    ("Tee-Object", "files cannot be written; output stays in the session"),
    ("Export-Csv", "files cannot be written; ask for objects as JSON on your side"),
    ("ConvertTo-Json", "ask for objects as JSON on your side"),
    ("Group-Object", "sort by the property instead"),
    ("Write-Host", "there is nothing to write; values are literals"),
    ("Write-Output", "there is nothing to write; values are literals"),
    ("echo", "there is nothing to write; values are literals"),
    ("Restart-Service", "use Stop-Service and Start-Service at the level DiagnosticsRepair"),
];

/// The sentence for a name that is not published.
pub(super) fn unknown_command(name: &str, context: &Context) -> String {
    if let Some((_, why)) = ELSEWHERE.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
        return format!("{name} is not permitted at any level: {why}");
    }
    let permitted = context.catalog().permitted(context.level, context.policy);
    let permitted =
        permitted.map(|entry| entry.name.as_str()).filter(|name| !context.commands.take_out(name));
    match nearest(name, permitted) {
        Some(near) => format!("{name} is not permitted at any level; did you mean {near}?"),
        None => format!("{name} is not permitted at any level; Get-Command lists what is"),
    }
}

/// The name that differs least, if it differs by a third of its length at most.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(64).flat_map(char::to_lowercase).collect();
    names
        .map(|own| (distance(&wanted, &own.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()), own))
        .filter(|(distance, own)| *distance <= (own.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, own)| own)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_leaves_strangers() {
        let names = ["Get-Process", "Get-Service", "Get-Volume"];
        assert_eq!(nearest("Get-Proces", names.into_iter()), Some("Get-Process"));
        assert_eq!(nearest("get-serivce", names.into_iter()), Some("Get-Service"));
        assert_eq!(nearest("Remove-Everything", names.into_iter()), None);
        assert_eq!(nearest("", names.into_iter()), None);
    }
}
