//! Rows with checksums, and the one row that knows how many there are.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log::{Act, LogEntry};
use super::{Hold, StoreError};
use crate::clock::Now;
use crate::digest::Sha256;
use crate::grant::{Grant, GrantId, GrantState};
use crate::request::{RequestNumber, SupportRequest};
use crate::terms::Terms;

/// The tables that hold rows by id.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Grants,
    Requests,
    Terms,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::Requests => "requests",
            Self::Terms => "terms",
        }
    }
}

/// What the store knows about itself, in one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    /// Grows with every change but a mere stamp.
    pub(super) revision: u64,
    /// The newest grant.
    pub(super) current: Option<GrantId>,
    /// The latest time that was seen.
    pub(super) stamp: Option<Now>,
    /// Set when time went back, until a fresh consent.
    pub(super) hold: Option<Hold>,
    /// The grant whose near end was told, and that end; stores from before this was told have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_told: Option<(GrantId, DateTime<Utc>)>,
    /// How many rows there must be.
    grants: u64,
    requests: u64,
    terms: u64,
    /// Number and checksum of the last entry of the log.
    log: u64,
    log_head: Option<Sha256>,
}

impl State {
    const fn rows(&mut self, table: Table) -> &mut u64 {
        match table {
            Table::Grants => &mut self.grants,
            Table::Requests => &mut self.requests,
            Table::Terms => &mut self.terms,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsRow {
    version: String,
    text: String,
}

/// A transaction, with the store's state as it was at its beginning and as it shall be.
pub(super) struct Tx<'c> {
    sql: Transaction<'c>,
    pub(super) state: State,
    before: State,
    /// The revision that this store must have gone through, while it is not known to be the one that it seems.
    doubt: Option<u64>,
}

const STATE: &str = "state";

impl<'c> Tx<'c> {
    pub(super) fn begin(sql: Transaction<'c>) -> Result<Self, StoreError> {
        let state: State = read_row(&sql, STATE, STATE)?.ok_or_else(|| damaged(STATE, STATE))?;
        Ok(Self { sql, before: state.clone(), state, doubt: None })
    }

    /// Writes the state of a new store.
    pub(super) fn initialize(sql: &Transaction<'_>) -> Result<(), StoreError> {
        write_row(sql, STATE, STATE, &State::default())
    }

    /// Whether anything changed but the stamp.
    pub(super) fn changed(&self) -> bool {
        State { stamp: self.before.stamp, ..self.state.clone() } != self.before
    }

    /// Commits; returns the revision that the store has now, if it changed, and the anchor may follow it.
    pub(super) fn commit(mut self) -> Result<Option<u64>, StoreError> {
        let changed = self.changed();
        if changed {
            self.state.revision += 1;
        }
        if self.state != self.before {
            write_row(&self.sql, STATE, STATE, &self.state)?;
        }
        self.sql.commit()?;
        Ok(Some(self.state.revision).filter(|_| changed && self.doubt.is_none()))
    }

    /// Remembers that the store is not the one that was last written here; the next [`Tx::tick`] holds the grant.
    pub(super) fn doubt(&mut self, at_least: Option<u64>) {
        self.doubt = at_least;
    }

    /// Takes notice of the time: remembers it, or holds the grant if it went back; ends the grant if its time is over, and lets
    /// it permit if what it waited for has come.
    pub(super) fn tick(&mut self, now: &Now) -> Result<(), StoreError> {
        if let Some(expected) = self.doubt.take() {
            let found = self.state.revision;
            // Whoever has seen the later facts would ignore earlier ones.
            self.state.revision = expected;
            self.log(now, Act::StoreDoubted { found, expected })?;
            let seen = self.state.stamp.unwrap_or(*now);
            self.state.hold.get_or_insert(Hold { seen, found: *now });
        }
        match self.state.stamp {
            Some(seen) if now.went_back_since(&seen) => self.hold(Hold { seen, found: *now })?,
            Some(seen) => self.state.stamp = Some(now.or_later(&seen)),
            None => self.state.stamp = Some(*now),
        }
        let Some(grant) = self.open_grant()? else { return Ok(()) };
        let (id, state) = (grant.id, grant.state_at(now));
        let act = match state {
            GrantState::Expired => Act::GrantExpired { grant: id },
            // Time that cannot be trusted begins nothing.
            GrantState::Active if grant.state == GrantState::Pending && self.state.hold.is_none() => {
                Act::GrantBegun { grant: id }
            }
            _ => return Ok(()),
        };
        self.put(Table::Grants, &id.to_string(), &grant.as_of(now))?;
        self.log(now, act)
    }

    pub(super) fn hold(&mut self, hold: Hold) -> Result<(), StoreError> {
        if self.state.hold.is_none() {
            self.state.hold = Some(hold);
            self.log(&hold.found, Act::ClockHeld { seen: hold.seen.wall, found: hold.found.wall })?;
        }
        Ok(())
    }

    /// The newest grant, in whatever state it was last written.
    pub(super) fn current(&self) -> Result<Option<Grant>, StoreError> {
        let Some(id) = self.state.current else { return Ok(None) };
        let id = id.to_string();
        self.get(Table::Grants, &id)?.map(Some).ok_or_else(|| damaged("grants", &id))
    }

    /// The newest grant, if it had not ended when it was last written.
    pub(super) fn open_grant(&self) -> Result<Option<Grant>, StoreError> {
        Ok(self.current()?.filter(|grant| grant.state.is_open()))
    }

    pub(super) fn request(&self, number: RequestNumber) -> Result<SupportRequest, StoreError> {
        self.get(Table::Requests, &number.to_string())?.ok_or(StoreError::UnknownRequest(number))
    }

    pub(super) fn terms(&self, sha256: &Sha256) -> Result<Option<Terms>, StoreError> {
        let id = sha256.to_string();
        let Some(row) = self.get::<TermsRow>(Table::Terms, &id)? else { return Ok(None) };
        let terms = Terms::new(&row.version, row.text).map_err(|_| damaged("terms", &id))?;
        if terms.agreed().sha256 == *sha256 { Ok(Some(terms)) } else { Err(damaged("terms", &id)) }
    }

    pub(super) fn keep_terms(&mut self, terms: &Terms) -> Result<(), StoreError> {
        let id = terms.agreed().sha256.to_string();
        let row = TermsRow { version: terms.version().to_string(), text: terms.text().to_owned() };
        self.put(Table::Terms, &id, &row)
    }

    pub(super) fn get<T: DeserializeOwned>(&self, table: Table, id: &str) -> Result<Option<T>, StoreError> {
        read_row(&self.sql, table.name(), id)
    }

    /// All rows of a table, by id.
    pub(super) fn all<T: DeserializeOwned>(&mut self, table: Table) -> Result<Vec<T>, StoreError> {
        let name = table.name();
        let mut select = self.sql.prepare_cached(&format!("SELECT id, body, sum FROM {name} ORDER BY id"))?;
        let mut rows = select.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            all.push(checked(name, &id, &row.get::<_, String>(1)?, &row.get::<_, Vec<u8>>(2)?)?);
        }
        if all.len() as u64 == *self.state.rows(table) {
            Ok(all)
        } else {
            Err(StoreError::corrupt(format!("rows of table {name} are missing")))
        }
    }

    pub(super) fn put<T: Serialize>(&mut self, table: Table, id: &str, value: &T) -> Result<(), StoreError> {
        if self.get::<serde::de::IgnoredAny>(table, id)?.is_none() {
            *self.state.rows(table) += 1;
        }
        write_row(&self.sql, table.name(), id, value)
    }

    /// Appends to the node log.
    pub(super) fn log(&mut self, now: &Now, act: Act) -> Result<(), StoreError> {
        let number = self.state.log + 1;
        let body = to_json(&LogEntry { number, at: now.wall, act })?;
        let sum = link(self.state.log_head.as_ref(), &body);
        let insert = "INSERT INTO log (number, body, sum) VALUES (?1, ?2, ?3)";
        self.sql.prepare_cached(insert)?.execute(params![sql_number(number), body, sum.as_bytes()])?;
        self.state.log = number;
        self.state.log_head = Some(sum);
        Ok(())
    }

    pub(super) fn read_log(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let gap = |number: u64| {
            StoreError::corrupt(format!("entry {number} of the log does not follow the one before"))
        };
        let mut head = self.log_sum(after)?;
        let mut select = self
            .sql
            .prepare_cached("SELECT body, sum FROM log WHERE number > ?1 ORDER BY number LIMIT ?2")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query(params![sql_number(after), limit])?;
        let mut entries: Vec<LogEntry> = Vec::new();
        while let Some(row) = rows.next()? {
            let number = after + entries.len() as u64 + 1;
            let body: String = row.get(0)?;
            let sum = link(head.as_ref(), &body);
            let entry: LogEntry = serde_json::from_str(&body).map_err(|_| gap(number))?;
            if row.get::<_, Vec<u8>>(1)? != sum.as_bytes() || entry.number != number {
                return Err(gap(number));
            }
            head = Some(sum);
            entries.push(entry);
        }
        let last = after.saturating_add(entries.len() as u64);
        let cut = (entries.len() as i64) < limit && last < self.state.log;
        if cut || (last == self.state.log && head != self.state.log_head) {
            Err(gap(last + 1))
        } else {
            Ok(entries)
        }
    }

    /// The checksum of entry `number`; none before the first, and what is past the end has that of the last.
    fn log_sum(&self, number: u64) -> Result<Option<Sha256>, StoreError> {
        if number == 0 || number >= self.state.log {
            return Ok(if number == 0 { None } else { self.state.log_head });
        }
        let mut select = self.sql.prepare_cached("SELECT sum FROM log WHERE number = ?1")?;
        let sum: Option<Vec<u8>> = select.query_row([sql_number(number)], |row| row.get(0)).optional()?;
        let bytes = sum.and_then(|sum| <[u8; 32]>::try_from(sum).ok());
        bytes.map(|bytes| Some(Sha256::from_bytes(bytes))).ok_or_else(|| damaged("log", &number.to_string()))
    }
}

/// A number of the log as SQLite takes it; no log gets near the end of the range.
fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read_row<T: DeserializeOwned>(
    sql: &Transaction<'_>,
    table: &str,
    id: &str,
) -> Result<Option<T>, StoreError> {
    let mut select = sql.prepare_cached(&format!("SELECT body, sum FROM {table} WHERE id = ?1"))?;
    let found =
        select.query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
    found.map(|(body, sum)| checked(table, id, &body, &sum)).transpose()
}

fn write_row<T: Serialize>(
    sql: &Transaction<'_>,
    table: &str,
    id: &str,
    value: &T,
) -> Result<(), StoreError> {
    let body = to_json(value)?;
    let upsert = format!(
        "INSERT INTO {table} (id, body, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET body = excluded.body, sum = excluded.sum"
    );
    sql.prepare_cached(&upsert)?.execute(params![id, body, sum(table, id, &body).as_bytes()])?;
    Ok(())
}

/// The value in `body`, if the row is what was written.
fn checked<T: DeserializeOwned>(table: &str, id: &str, body: &str, found: &[u8]) -> Result<T, StoreError> {
    if found != sum(table, id, body).as_bytes() {
        return Err(damaged(table, id));
    }
    serde_json::from_str(body).map_err(|_| damaged(table, id))
}

fn sum(table: &str, id: &str, body: &str) -> Sha256 {
    Sha256::of_parts(&[b"rs-consent row v1", table.as_bytes(), id.as_bytes(), body.as_bytes()])
}

/// The checksum of a log entry: over the one before, so that entries cannot change places.
fn link(before: Option<&Sha256>, body: &str) -> Sha256 {
    let before = before.map_or(&[][..], |sum| sum.as_bytes());
    Sha256::of_parts(&[b"rs-consent log v1", before, body.as_bytes()])
}

fn damaged(table: &str, id: &str) -> StoreError {
    StoreError::corrupt(format!("row {id} of table {table}"))
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::unavailable(std::path::Path::new(""), error))
}
