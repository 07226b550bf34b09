//! Who is signed in at the page: codes, seats, and the tokens of forms.
//!
//! A code is made where only the operator sees it (the terminal, or the answer to a call over the control socket) and is
//! good for one sign-in. It is typed, so no secret is ever part of an address. A seat ends when its operator leaves, after
//! [`IDLE_MAX`] without a request, after [`SEAT_MAX`], and with the process.
//!
//! A seat belongs to the account of this machine whose program signed in, where the system tells it (Linux): a cookie that
//! comes from another account is none. Wrong codes are counted by account too, so that no other one locks the operator out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::outcome::{ErrorCode, Failure};

/// A seat that made no request for so long is given up. What a page shows live counts as none.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Longest time for which a seat is held, however busy.
pub const SEAT_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Most operators at the same time; the one that was idle longest gives way.
pub const SEATS_MAX: usize = 16;
/// How long a code is good.
pub const CODE_MAX: Duration = Duration::from_secs(10 * 60);
/// Wrong codes within [`WRONG_WITHIN`] after which no code is taken, not even the right one.
pub const WRONG_MAX: usize = 10;
/// See [`WRONG_MAX`].
pub const WRONG_WITHIN: Duration = Duration::from_secs(60);
/// Wrong codes that are remembered, of all accounts; the oldest are forgotten first.
const WRONG_KEPT_MAX: usize = 1024;
/// Letters of a code, some 39 bits: at ten tries a minute half of all codes take fifty thousand years.
pub const CODE_LETTERS: usize = 8;

/// Letters and digits that are not mistaken for each other.
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// An account of this machine by its number; none where the system does not tell.
pub(super) type Account = Option<u32>;

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotIn {
    /// The code is wrong, or was used.
    Wrong,
    /// The code was right and is too old.
    Old,
    /// Too many wrong ones; wait so long.
    Wait(Duration),
}

/// Who is signed in.
#[derive(Debug, Default)]
pub(super) struct Door(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    code: Option<(String, Instant)>,
    wrong: VecDeque<(Account, Instant)>,
    seats: Vec<Seat>,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("seats", &self.seats.len()).finish_non_exhaustive()
    }
}

struct Seat {
    account: Account,
    /// Hash of the cookie, so that looking for it tells nothing by its time.
    cookie: [u8; 32],
    /// Key of the tokens in this seat's forms.
    key: [u8; 32],
    since: Instant,
    last: Instant,
    said: Option<Said>,
}

/// What the next page tells of the last act.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// It did not go well.
    pub(super) bad: bool,
    /// What happened, in paragraphs.
    pub(super) lines: Vec<String>,
}

/// Somebody who is signed in, for one request.
#[derive(Clone)]
pub(super) struct Operator {
    cookie: [u8; 32],
    key: [u8; 32],
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operator")
    }
}

impl Operator {
    /// The token of the form that is sent to `action`.
    pub(super) fn token(&self, action: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(action).finalize().into_bytes())
    }

    /// Whether a form to `action` has the token of this seat.
    pub(super) fn owns(&self, action: &str, token: &str) -> bool {
        URL_SAFE_NO_PAD.decode(token).is_ok_and(|bytes| self.mac(action).verify_slice(&bytes).is_ok())
    }

    fn mac(&self, action: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("any length is a key"));
        mac.update(action.as_bytes());
        mac
    }
}

impl Door {
    /// Makes a code; the one before is good no more.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Internal`] where the system has no random numbers.
    pub(super) fn new_code(&self, now: Instant) -> Result<String, Failure> {
        let mut code = String::new();
        while code.len() < CODE_LETTERS {
            let [byte] = random::<1>()?;
            // The highest multiple of 30 below 256: each letter is equally likely.
            if byte < 240 {
                code.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
        let shown = format!("{}-{}", &code[..CODE_LETTERS / 2], &code[CODE_LETTERS / 2..]);
        self.lock().code = Some((code, now));
        Ok(shown)
    }

    /// Takes a code, and gives the value of the cookie of a new seat.
    pub(super) fn sign_in(
        &self,
        typed: &str,
        account: Account,
        now: Instant,
    ) -> Result<Result<String, NotIn>, Failure> {
        let (cookie, key) = (random::<32>()?, random::<32>()?);
        let mut inside = self.lock();
        inside.wrong.retain(|(_, at)| now.saturating_duration_since(*at) < WRONG_WITHIN);
        let mut wrong = inside.wrong.iter().filter(|(own, _)| *own == account).map(|(_, at)| *at);
        if let Some(first) = wrong.next()
            && wrong.count() + 1 >= WRONG_MAX
        {
            let since = now.saturating_duration_since(first);
            return Ok(Err(NotIn::Wait(WRONG_WITHIN.saturating_sub(since))));
        }
        let letters = |c: char| c.is_ascii_alphanumeric().then(|| c.to_ascii_uppercase());
        let typed: String = typed.chars().filter_map(letters).take(CODE_LETTERS + 1).collect();
        let fits = |code: &str| bool::from(code.as_bytes().ct_eq(typed.as_bytes()));
        let Some((_, made)) = inside.code.take_if(|(code, _)| fits(code)) else {
            inside.wrong.push_back((account, now));
            if inside.wrong.len() > WRONG_KEPT_MAX {
                inside.wrong.pop_front();
            }
            return Ok(Err(NotIn::Wrong));
        };
        if now.saturating_duration_since(made) > CODE_MAX {
            return Ok(Err(NotIn::Old));
        }
        inside.clear(now);
        if inside.seats.len() >= SEATS_MAX
            && let Some(idle) = (0..inside.seats.len()).min_by_key(|at| inside.seats[*at].last)
        {
            inside.seats.swap_remove(idle);
        }
        let text = URL_SAFE_NO_PAD.encode(cookie);
        inside.seats.push(Seat { account, cookie: hash(&text), key, since: now, last: now, said: None });
        Ok(Ok(text))
    }

    /// Who this cookie belongs to, where it comes from their account; their seat is held from now on again.
    pub(super) fn enter(&self, cookie: &str, account: Account, now: Instant) -> Option<Operator> {
        let cookie = hash(cookie);
        let mut inside = self.lock();
        inside.clear(now);
        let seat = inside.seats.iter_mut().find(|seat| seat.cookie == cookie && seat.account == account)?;
        seat.last = now;
        Some(Operator { cookie, key: seat.key })
    }

    /// Whether the seat is still held; asking holds it no longer.
    pub(super) fn is_in(&self, operator: &Operator, now: Instant) -> bool {
        let mut inside = self.lock();
        inside.clear(now);
        inside.seats.iter().any(|seat| seat.cookie == operator.cookie)
    }

    /// Gives up a seat.
    pub(super) fn leave(&self, operator: &Operator) {
        self.lock().seats.retain(|seat| seat.cookie != operator.cookie);
    }

    /// Keeps what the operator's next page tells.
    pub(super) fn say(&self, operator: &Operator, said: Said) {
        if let Some(seat) = self.lock().seats.iter_mut().find(|seat| seat.cookie == operator.cookie) {
            seat.said = Some(said);
        }
    }

    /// What is to be told, once.
    pub(super) fn said(&self, operator: &Operator) -> Option<Said> {
        self.lock().seats.iter_mut().find(|seat| seat.cookie == operator.cookie)?.said.take()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn clear(&mut self, now: Instant) {
        let holds = |from: Instant, max: Duration| now.saturating_duration_since(from) <= max;
        self.seats.retain(|seat| holds(seat.last, IDLE_MAX) && holds(seat.since, SEAT_MAX));
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(ErrorCode::Internal, "the system has no random numbers")
            .because(std::io::Error::other(error.to_string()))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Account = Some(1000);

    fn signed_in(door: &Door, now: Instant) -> String {
        let code = door.new_code(now).expect("random");
        door.sign_in(&code, ME, now).expect("random").expect("the right code")
    }

    fn refused(door: &Door, typed: &str, now: Instant) -> NotIn {
        door.sign_in(typed, ME, now).expect("random").expect_err("not the code")
    }

    #[test]
    fn sec41_a_code_is_good_once_and_only_for_its_time() {
        let (door, now) = (Door::default(), Instant::now());
        assert_eq!(refused(&door, "", now), NotIn::Wrong, "before there is any");
        let code = door.new_code(now).expect("random");
        assert_eq!(code.len(), CODE_LETTERS + 1);
        let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
        let cookie = door.sign_in(&typed, ME, now + CODE_MAX).expect("random").expect("as people type it");
        assert!(door.enter(&cookie, ME, now).is_some());
        assert_eq!(refused(&door, &code, now), NotIn::Wrong, "used");
        let code = door.new_code(now).expect("random");
        assert_eq!(refused(&door, &code, now + CODE_MAX + Duration::from_millis(1)), NotIn::Old);
        let first = door.new_code(now).expect("random");
        let _second = door.new_code(now).expect("random");
        assert_eq!(refused(&door, &first, now), NotIn::Wrong, "replaced");
        assert_eq!(refused(&door, &format!("{first}A"), now), NotIn::Wrong, "longer");
    }

    #[test]
    fn sec41_wrong_codes_are_limited_and_the_right_one_waits_with_them() {
        let (door, now) = (Door::default(), Instant::now());
        let code = door.new_code(now).expect("random");
        for _ in 0..WRONG_MAX {
            assert_eq!(refused(&door, "AAAA-AAAA-A", now), NotIn::Wrong);
        }
        assert_eq!(refused(&door, &code, now), NotIn::Wait(WRONG_WITHIN));
        let later = now + WRONG_WITHIN;
        assert!(door.sign_in(&code, ME, later).expect("random").is_ok(), "the code is still good");
    }

    #[test]
    fn sec41_another_account_neither_uses_a_cookie_nor_locks_the_operator_out() {
        let (door, now) = (Door::default(), Instant::now());
        let cookie = signed_in(&door, now);
        assert!(door.enter(&cookie, Some(1001), now).is_none());
        assert!(door.enter(&cookie, None, now).is_none());
        assert!(door.enter(&cookie, ME, now).is_some(), "the control");
        let code = door.new_code(now).expect("random");
        for _ in 0..2 * WRONG_MAX {
            let _refused = door.sign_in("AAAA-AAAA", Some(1001), now).expect("random");
        }
        let stranger = door.sign_in(&code, Some(1001), now).expect("random");
        assert!(matches!(stranger, Err(NotIn::Wait(_))), "the control: that account waits");
        assert!(door.sign_in(&code, ME, now).expect("random").is_ok());
    }

    #[test]
    fn sec43_wrong_codes_of_many_accounts_take_no_more_than_their_bound() {
        let (door, now) = (Door::default(), Instant::now());
        for account in 0..2000 {
            let _refused = door.sign_in("AAAA-AAAA", Some(account), now).expect("random");
        }
        assert_eq!(door.lock().wrong.len(), WRONG_KEPT_MAX);
    }

    #[test]
    fn sec41_a_seat_ends_idle_after_its_time_or_when_left() {
        let (door, now) = (Door::default(), Instant::now());
        let cookie = signed_in(&door, now);
        let operator = door.enter(&cookie, ME, now + IDLE_MAX).expect("at the bound");
        assert!(door.is_in(&operator, now + IDLE_MAX + IDLE_MAX), "that request counted");
        assert!(
            door.enter(&cookie, ME, now + IDLE_MAX + IDLE_MAX + Duration::from_millis(1)).is_none(),
            "asking did not"
        );
        let cookie = signed_in(&door, now);
        let mut at = now;
        while at + IDLE_MAX <= now + SEAT_MAX {
            at += IDLE_MAX;
            assert!(door.enter(&cookie, ME, at).is_some());
        }
        assert!(door.enter(&cookie, ME, now + SEAT_MAX + Duration::from_millis(1)).is_none());
        let cookie = signed_in(&door, now);
        let operator = door.enter(&cookie, ME, now).expect("in");
        door.leave(&operator);
        assert!(door.enter(&cookie, ME, now).is_none());
    }

    #[test]
    fn sec41_a_token_is_of_one_seat_and_one_form() {
        let (door, now) = (Door::default(), Instant::now());
        let [one, other] = [(); 2].map(|()| door.enter(&signed_in(&door, now), ME, now).expect("in"));
        let token = one.token("/revoke");
        assert!(one.owns("/revoke", &token));
        assert!(!one.owns("/grant", &token) && !other.owns("/revoke", &token));
        assert!(!one.owns("/revoke", "") && !one.owns("/revoke", &token[1..]));
    }

    #[test]
    fn seats_are_limited_and_what_was_said_is_told_once() {
        let (door, now) = (Door::default(), Instant::now());
        let at = |n: usize| now + Duration::from_millis(n as u64);
        let cookies: Vec<_> = (0..=SEATS_MAX).map(|n| signed_in(&door, at(n))).collect();
        assert!(door.enter(&cookies[0], ME, at(99)).is_none(), "the longest idle gave way");
        let operator = door.enter(&cookies[1], ME, at(99)).expect("in");
        door.say(&operator, Said { bad: false, lines: vec!["done".into()] });
        assert_eq!(door.said(&operator).expect("said").lines, ["done"]);
        assert!(door.said(&operator).is_none());
        assert!(!format!("{door:?} {operator:?}").contains(&cookies[1]));
    }
}
