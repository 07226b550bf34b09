//! The operator's page: what the commands of the operator do, on loopback, for a browser.
//!
//! ```text
//! server   listens, bounds what comes in, and puts the headers of protection on what goes out
//! guard    judges a request by its head: host, origin, site               pure
//! door     who is signed in: codes, seats, tokens of forms                pure
//! route    which address is which screen; every change passes one check of its form's token
//! screens  one module each: what it shows, and what its buttons do
//! nodes    what other nodes answered, which nobody waits for
//! live     what a page shows while it happens: server-sent events
//! ```
//!
//! A screen calls the function that its command calls, in the identity of whoever runs the program. Nothing is decided
//! here: consent, gate, record and checks are where they are for the commands. Pages are whole without script; the script
//! adds what happens meanwhile. Texts are escaped by the templates (`maud`), and control characters are made visible first.

mod door;
mod form;
mod guard;
mod index;
mod live;
pub(crate) mod nodes;
mod route;
mod screens;
mod server;
mod view;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rs_consent::Clock;

pub use self::door::{CODE_LETTERS, CODE_MAX, IDLE_MAX, SEAT_MAX, SEATS_MAX, WRONG_MAX, WRONG_WITHIN};
pub use self::live::STREAMS_MAX;
use self::screens::proxy::Job;
pub use self::server::{CONNECTIONS_MAX, FORM_BYTES_MAX, FORM_WAIT, HEAD_BYTES_MAX, HEAD_WAIT, WORK_MAX};
use crate::commands::agent::RunArgs;
use crate::context::{Console, Context};
use crate::control::ConsoleOffer;
use crate::outcome::{ErrorCode, Failure};
use crate::output::OutputMode;
use crate::records;
use crate::state::StateDir;
use crate::storage::StorageOptions;

/// Tells the operator a new code, where there is a terminal to tell it at.
pub(crate) type TellCode = Box<dyn Fn(&str) + Send + Sync>;

/// What a page is served with.
pub(crate) struct PageSettings {
    pub(crate) state: StateDir,
    pub(crate) storage: StorageOptions,
    pub(crate) clock: Arc<dyn Clock>,
    /// How relay and network are reached, for health and proxy check.
    pub(crate) run: RunArgs,
    /// Absent where codes are asked for over the control socket.
    pub(crate) tell_code: Option<TellCode>,
    /// Other nodes that it shows.
    pub(crate) board: Option<Arc<nodes::Board>>,
}

/// A page that listens, and is not served yet.
pub(crate) struct Page {
    site: Arc<Site>,
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

/// What all requests to a page share.
pub(crate) struct Site {
    state: StateDir,
    storage: StorageOptions,
    clock: Arc<dyn Clock>,
    door: door::Door,
    run: RunArgs,
    index: index::Index,
    proxy: Mutex<Option<Arc<Job>>>,
    tell_code: Option<TellCode>,
    board: Option<Arc<nodes::Board>>,
    streams: Arc<tokio::sync::Semaphore>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("state", &self.state).field("door", &self.door).finish_non_exhaustive()
    }
}

/// The default address: this machine only, a free port.
pub(crate) const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

impl Page {
    /// Listens on a loopback address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] for an address that others can reach; [`ErrorCode::Io`] where it cannot be had.
    pub(crate) async fn bind(listen: SocketAddr, settings: PageSettings) -> Result<Self, Failure> {
        if !listen.ip().is_loopback() {
            return Err(Failure::new(ErrorCode::InvalidValue, "the page is for this machine only")
                .about(listen.to_string())
                .next_step(
                    "give a loopback address such as 127.0.0.1:8600; from another machine come by a tunnel: ssh -L \
                     8600:127.0.0.1:8600 NODE",
                ));
        }
        let taken = |error| {
            Failure::new(ErrorCode::Io, "the page cannot listen").about(listen.to_string()).because(error)
        };
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let PageSettings { state, storage, clock, run, tell_code, board } = settings;
        let site = Site {
            state,
            storage,
            clock,
            run,
            tell_code,
            board,
            door: door::Door::default(),
            index: index::Index::default(),
            proxy: Mutex::default(),
            streams: Arc::new(tokio::sync::Semaphore::new(STREAMS_MAX)),
        };
        Ok(Self { site: Arc::new(site), listener, address })
    }

    /// Its address, to be opened in a browser.
    pub(crate) fn address(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Where it is, with new codes for it.
    pub(crate) fn offering(&self) -> Offering {
        Offering { site: Arc::clone(&self.site), address: self.address() }
    }

    /// Serves it until the future is dropped.
    pub(crate) async fn serve(self) {
        let site = Arc::clone(&self.site);
        // Nobody waits for it: a list that comes before it is read does the same.
        drop(tokio::task::spawn_blocking(move || site.warm()));
        server::serve(self.site, self.listener, guard::Names::of(self.address)).await;
    }
}

/// What makes codes for a page.
#[derive(Debug)]
pub(crate) struct Offering {
    site: Arc<Site>,
    address: String,
}

impl Offering {
    /// The address, with a new code; the code before is good no more.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Internal`] where the system has no random numbers.
    pub(crate) fn offer(&self) -> Result<ConsoleOffer, Failure> {
        Ok(ConsoleOffer { address: self.address.clone(), code: self.site.new_code()? })
    }
}

impl Site {
    /// Makes a code for one sign-in; the one before is good no more.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Internal`] where the system has no random numbers.
    fn new_code(&self) -> Result<String, Failure> {
        self.door.new_code(Instant::now())
    }

    /// Reads when each session began, so that the first list is as quick as the next.
    fn warm(&self) {
        if let Err(failure) = self.index.newest_first(&records::folder(&self.state)) {
            tracing::warn!(%failure, "the sessions of this node cannot be listed");
        }
    }

    /// The proxy check that runs or ran last.
    fn proxy_job(&self) -> Option<Arc<Job>> {
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes this the one proxy check; false while another runs.
    fn take_proxy_job(&self, job: &Arc<Job>) -> bool {
        let mut place = self.proxy.lock().unwrap_or_else(PoisonError::into_inner);
        let free = place.as_ref().is_none_or(|job| job.is_over());
        if free {
            *place = Some(Arc::clone(job));
        }
        free
    }

    /// Makes a code and tells it, where there is somebody to tell.
    fn tell_new_code(&self) {
        let Some(tell) = &self.tell_code else { return };
        match self.new_code() {
            Ok(code) => tell(&code),
            Err(failure) => tracing::error!(%failure, "no code can be made for the page"),
        }
    }

    /// The surroundings of a command that works for the page: what it notes is heard, what it prints is not.
    fn context(&self) -> (Context, Notes) {
        let notes = Notes::default();
        let console = Console {
            input: Box::new(std::io::empty()),
            out: Box::new(std::io::sink()),
            err: Box::new(notes.clone()),
            interactive: false,
            columns: crate::context::COLUMNS_DEFAULT,
            live: false,
            full_screen: false,
            color: false,
        };
        let context = Context {
            state: self.state.clone(),
            storage: self.storage.clone(),
            output: OutputMode::List,
            clock: Arc::clone(&self.clock),
            console,
        };
        (context, notes)
    }
}

/// What commands noted while they worked for the page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<u8>>>);

/// More notes than so many bytes are not kept.
const NOTES_BYTES_MAX: usize = 64 * 1024;

impl Notes {
    /// What was noted so far, a paragraph each.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

impl Write for Notes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = NOTES_BYTES_MAX.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
