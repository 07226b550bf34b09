//! Any text as what a relay's peers send: addresses, tokens, connection strings, control messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs_relay::proto::http::{HttpTarget, ResponseHead};
use rs_relay::proto::{
    Authority, ConnectionString, EntityPath, ListenerMessage, RendezvousAddress, RequestPath, Rules,
    SasToken, ServerMessage, Target,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(authority) = text.parse::<Authority>() {
        assert_eq!(authority.to_string().parse::<Authority>().ok(), Some(authority));
    }
    if let Ok(entity) = text.parse::<EntityPath>() {
        assert_eq!(entity.as_str().parse::<EntityPath>().ok(), Some(entity));
    }
    let _ = text.parse::<ConnectionString>();
    if let Ok(token) = SasToken::parse(text) {
        let _ = token.scope();
    }
    let _ = Target::parse(text);
    if let Ok(target) = HttpTarget::parse(text) {
        assert!(HttpTarget::parse(&target.request_target).is_ok_and(|again| again.token.is_none()));
    }
    let _ = RequestPath::parse(text);
    let _ = RendezvousAddress::parse(text);
    let _ = Rules::from_json(text);
    if let Ok(ListenerMessage::Response(response)) = ListenerMessage::parse(text) {
        let _ = ResponseHead::new(&response, "GET", "relay.example.test");
    }
    let _ = ServerMessage::parse(text);
});
