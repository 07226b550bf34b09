//! The things that are looked at: what a fault of each means, and what can be done about it in general.

use std::fmt;

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, $cause:literal, $remedy:literal;)+) => {
        /// Something that `agent doctor` looks at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Check {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Check {
            /// Every one, in the order in which they are looked at.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in findings.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What a fault or advice of it means, as a sentence without full stop.
            pub(crate) const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause),+ }
            }

            /// What can be done in general, as a sentence without full stop; a finding knows more.
            pub(crate) const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

checks! {
    /// The agent.
    Service = "service", "no agent answers on this node, so nobody can connect", "start it with `remote-support agent run` or its service, and ask as its user or as root";
    /// Consents and requests.
    Store = "store", "the store cannot be opened, or is not what was written", "see that the volume is well; a store that is damaged is moved away and kept, and a fresh consent given";
    /// The clock.
    Clock = "clock", "the clock went back while a consent was in force, so nobody is let in", "set the clock if it is wrong, then confirm by enabling remote support again";
    /// Where records go.
    Disk = "disk", "there is little space, a durable write is slow, or the state directory cannot be used", "free some space, set owner and mode as the finding says, or choose another volume with --state-dir";
    /// What holds operations in.
    Sandbox = "sandbox", "operations cannot be started, or something that should hold them in is missing on this machine", "run the agent as root on a kernel with Landlock and seccomp; the finding says what is missing";
    /// Proxy settings.
    Proxy = "proxy", "a proxy setting cannot be used, or several disagree", "write the proxy as http://HOST:PORT; `remote-support proxy settings` lists all of them and says which wins";
    /// The way to the relay.
    Relay = "relay", "there is no credential for a relay, the relay is not reached, or it refuses", "hand in the credential with `enable --sas-credential-file FILE`, and look at each hop with `remote-support proxy check`";
    /// Those who are told what happens.
    Notify = "notify", "somebody who is to be told what happens is not told at present; nothing is lost", "see that it takes events, try it with `remote-support notify test NAME`, or remove it with `remote-support notify remove NAME`";
    /// What a level permits.
    Catalog = "catalog", "the consent in force was given for other lists than this program has", "read what is permitted now with `remote-support operations`, and enable remote support again";
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
