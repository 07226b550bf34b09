//! Tracking ids: what logs of sender, relay and listener have in common.

use uuid::Uuid;

/// The id of a connection or request, as the listener sees it.
///
/// The client's own id with a suffix of the relay's. The Java SDK ignores what does not begin with a GUID, so `fresh` goes
/// before an id that does not, and stands for one that is missing. `number` makes it unique in this relay.
///
/// ```
/// use rs_relay::proto::tracking_id;
/// use uuid::Uuid;
///
/// let fresh = Uuid::nil();
/// let own = "0f8fad5b-d9cb-469f-a165-70867728950e";
/// assert_eq!(tracking_id(Some(own), fresh, 7), "0f8fad5b-d9cb-469f-a165-70867728950e_G7");
/// assert_eq!(tracking_id(Some("mine"), fresh, 7), "00000000-0000-0000-0000-000000000000_mine_G7");
/// assert_eq!(tracking_id(None, fresh, 7), "00000000-0000-0000-0000-000000000000_G7");
/// ```
#[must_use]
pub fn tracking_id(client: Option<&str>, fresh: Uuid, number: u64) -> String {
    match client {
        Some(id) if begins_with_guid(id) => format!("{id}_G{number}"),
        Some(id) => format!("{fresh}_{id}_G{number}"),
        None => format!("{fresh}_G{number}"),
    }
}

fn begins_with_guid(id: &str) -> bool {
    id.get(..36).is_some_and(|guid| Uuid::try_parse(guid).is_ok())
}
