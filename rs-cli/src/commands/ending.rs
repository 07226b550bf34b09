//! How sessions ended, in words and for programs: what `disable`, `request close` and `session end` say.

use crate::context::Context;
use crate::control::EndedSession;
use crate::output::Value;

/// The sessions for programs.
pub(super) fn values(sessions: &[EndedSession]) -> Value {
    // Ids, numbers and paths: nothing in it can fail to become JSON.
    Value::Json(serde_json::to_value(sessions).unwrap_or_default())
}

/// The sessions in words, each with its end-of-access statement.
pub(super) fn tell(sessions: &[EndedSession], context: &mut Context) {
    for session in sessions {
        context.note(words(session));
    }
}

/// One session's end in words.
pub(crate) fn words(session: &EndedSession) -> String {
    let last = session.last_executed.map_or_else(
        || "nothing had been executed".to_owned(),
        |number| format!("the last line that was executed is record {number}"),
    );
    let stated = match (&session.statement, session.recorded) {
        (Some(path), _) => format!("Signed end-of-access statement: {}", path.display()),
        (None, true) => {
            "Its end is on record; the signed statement follows when the agent starts again.".to_owned()
        }
        (None, false) => {
            "Its end could not be written; it is recorded as soon as the disk allows.".to_owned()
        }
    };
    let (id, cause, delays) = (session.session_id, session.cause, session.delays);
    format!("Session {id} ended ({cause}): {delays}; {last}.\n{stated}")
}

#[cfg(test)]
mod tests {
    use rs_consent::EndCause;
    use rs_session::ending::Delays;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn sec12_an_end_is_told_with_its_delays_its_last_record_and_its_statement() {
        let delays =
            Delays { gate_us: 1500, work_us: Some(20_000), closed_us: 25_000, listener_us: Some(30_000) };
        let mut session = EndedSession {
            session_id: Uuid::from_u128(7),
            cause: EndCause::Revoked,
            last_executed: Some(9),
            recorded: true,
            delays,
            statement: Some("sessions/7.end.json".into()),
        };
        assert_eq!(
            words(&session),
            "Session 00000000-0000-0000-0000-000000000007 ended (revoked): gate shut after 1.5 ms, work dead after \
             20.0 ms, channel closed after 25.0 ms, relay left after 30.0 ms; the last line that was executed is record \
             9.\nSigned end-of-access statement: sessions/7.end.json"
        );
        (session.statement, session.recorded) = (None, false);
        assert!(words(&session).contains("as soon as the disk allows"));
    }
}
