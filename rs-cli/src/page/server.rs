//! The page's HTTP: a bounded number of connections, heads and forms, and one way out for every answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use maud::Markup;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::Site;
use super::door::{Account, NotIn, Operator};
use super::form::Form;
use super::guard::{self, Names};
use super::live::{self, Subject};
use super::{route, view};
use crate::outcome::{ErrorCode, Exit, Failure};
use crate::platform;

/// Connections at the same time; others wait.
pub const CONNECTIONS_MAX: usize = 64;
/// Largest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest form, in bytes: a desk's opening as text, in the encoding of forms.
pub const FORM_BYTES_MAX: usize = 256 * 1024;
/// Within this time the head of a request must have come.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Within this time a form must have come.
pub const FORM_WAIT: Duration = Duration::from_secs(10);
/// Screens that are made at the same time; others wait.
pub const WORK_MAX: usize = 8;

/// How soon the next connection is taken after one could not be.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Name of the cookie.
const COOKIE: &str = "remote_support_seat";

/// What is sent back.
pub(super) enum Answer {
    /// A whole page.
    Page(StatusCode, Markup),
    /// Go there and look (303), so that going back or reloading does nothing twice.
    See(String),
    /// A file of the page itself.
    Asset(&'static str, &'static str),
    /// A file to keep: its name, type and content.
    File(String, &'static str, Vec<u8>),
    /// What happens from now on.
    Live(Subject),
}

/// One request that passed the guard.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) posts: bool,
    pub(super) path: String,
    pub(super) query: Form,
    pub(super) form: Form,
}

/// The body of an answer.
pub(super) enum Out {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body for Out {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Pieces(pieces) => ready!(pieces.poll_recv(waking)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

pub(super) async fn serve(site: Arc<Site>, listener: TcpListener, names: Names) {
    let (places, work) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(WORK_MAX)));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer),
            Err(error) => {
                tracing::error!(%error, "a connection to the page could not be taken");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (site, work, names) = (Arc::clone(&site), Arc::clone(&work), names.clone());
        connections.spawn(async move {
            let account = account(&stream, peer).await;
            let service = service_fn(|request| {
                let (site, work, names) = (Arc::clone(&site), Arc::clone(&work), names.clone());
                async move { Ok::<_, Infallible>(answer(&site, &work, &names, account, request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the page ended early");
            }
            drop(place);
        });
    }
}

/// The account at the other end; a connection is of one for all its life.
async fn account(stream: &TcpStream, peer: SocketAddr) -> Account {
    let own = stream.local_addr().ok()?;
    tokio::task::spawn_blocking(move || platform::account_of(own, peer)).await.ok()?
}

async fn answer(
    site: &Arc<Site>,
    work: &Semaphore,
    names: &Names,
    account: Account,
    request: Request<Incoming>,
) -> Response<Out> {
    let mut response = match names.judge(request.method(), request.headers()) {
        Ok(()) => admitted(site, work, account, request).await,
        Err(refused) => {
            let body = view::bare("Refused", maud::html! { h1 { "Refused" } p { (refused.words()) } });
            page(StatusCode::FORBIDDEN, body)
        }
    };
    guard::harden(&mut response);
    response
}

/// A request that comes from this page or from the operator's own hand.
async fn admitted(
    site: &Arc<Site>,
    work: &Semaphore,
    account: Account,
    request: Request<Incoming>,
) -> Response<Out> {
    let (head, body) = request.into_parts();
    let posts = head.method == Method::POST;
    let path = head.uri.path().to_owned();
    if !posts && head.method != Method::GET {
        return refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "Pages are read, and forms are sent; nothing else is done here.",
        );
    }
    if let Some(answer) = route::asset(&path).filter(|_| !posts) {
        return finish(answer);
    }
    let mut form = Form::default();
    if posts {
        match timeout(FORM_WAIT, Limited::new(body, FORM_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => form = Form::read(&body.to_bytes()),
            Ok(Err(_)) => {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The form is too long or did not come whole.");
            }
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "The form did not come in time."),
        }
    }
    let operator = cookie(&head.headers).and_then(|cookie| site.door.enter(cookie, account, Instant::now()));
    let Some(operator) = operator else {
        return at_the_door(site, account, posts, &path, &form);
    };
    let ask = Ask { posts, path, query: Form::read(head.uri.query().unwrap_or_default().as_bytes()), form };
    if posts && !operator.owns(&ask.path, ask.form.get("token").unwrap_or_default()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "This form is not of your session here, so nothing was done. Open the page anew.",
        );
    }
    if posts && ask.path == route::SIGN_OUT {
        site.door.leave(&operator);
        let mut response = finish(Answer::See("/".to_owned()));
        response.headers_mut().insert(header::SET_COOKIE, set_cookie("", "; Max-Age=0"));
        return response;
    }
    let (its_site, its_operator) = (Arc::clone(site), operator.clone());
    match make(work, move || route::answer(&its_site, &ask, &its_operator)).await {
        Ok(Answer::Live(subject)) => live(site, operator, subject),
        Ok(answer) => finish(answer),
        Err(error) => {
            tracing::error!(%error, "a screen broke");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "A fault of the program; it is in the log.")
        }
    }
}

/// Makes a screen on a thread that may wait, as soon as fewer than [`WORK_MAX`] are being made.
async fn make<T: Send + 'static>(
    work: &Semaphore,
    screen: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<dyn std::error::Error>> {
    let _place = work.acquire().await?;
    Ok(tokio::task::spawn_blocking(screen).await?)
}

/// Nobody is signed in: shows the question for the code, or takes it.
fn at_the_door(site: &Site, account: Account, posts: bool, path: &str, form: &Form) -> Response<Out> {
    if !posts {
        let status = if path == "/" { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        return page(status, view::sign_in(None, site.tell_code.is_some()));
    }
    if path != route::SIGN_IN {
        return page(
            StatusCode::UNAUTHORIZED,
            view::sign_in(Some("Nobody is signed in, so nothing was done."), site.tell_code.is_some()),
        );
    }
    let refused = match site.door.sign_in(form.get("code").unwrap_or_default(), account, Instant::now()) {
        Ok(Ok(cookie)) => {
            site.tell_new_code();
            let mut response = finish(Answer::See("/".to_owned()));
            response.headers_mut().insert(header::SET_COOKIE, set_cookie(&cookie, ""));
            return response;
        }
        Ok(Err(refused)) => refused,
        Err(failure) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    };
    let words = match refused {
        NotIn::Wrong => "This is not the code, or it was used already.".to_owned(),
        NotIn::Old => {
            site.tell_new_code();
            "This code is too old. Take the newest one.".to_owned()
        }
        NotIn::Wait(left) => format!("Too many wrong codes. Try again in {} s.", left.as_secs() + 1),
    };
    page(StatusCode::FORBIDDEN, view::sign_in(Some(&words), site.tell_code.is_some()))
}

fn cookie(headers: &header::HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// For the session of the browser only; no script sees it, and no other site makes the browser send it.
fn set_cookie(value: &str, more: &str) -> HeaderValue {
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{more}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn live(site: &Arc<Site>, operator: Operator, subject: Subject) -> Response<Out> {
    let Some(pieces) = live::start(Arc::clone(site), operator, subject) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are shown live.");
    };
    typed(Response::new(Out::Pieces(pieces)), "text/event-stream; charset=utf-8")
}

fn finish(answer: Answer) -> Response<Out> {
    match answer {
        Answer::Page(status, markup) => page(status, markup),
        Answer::See(place) => {
            let mut response = Response::new(Out::Whole(None));
            *response.status_mut() = StatusCode::SEE_OTHER;
            let place = HeaderValue::try_from(place).unwrap_or_else(|_| HeaderValue::from_static("/"));
            response.headers_mut().insert(header::LOCATION, place);
            response
        }
        Answer::Asset(kind, text) => typed(whole(text.as_bytes()), kind),
        Answer::File(name, kind, content) => {
            let mut response = typed(Response::new(Out::Whole(Some(content.into()))), kind);
            let disposition = format!("attachment; filename=\"{name}\"");
            let disposition = HeaderValue::try_from(disposition);
            let disposition = disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment"));
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
            response
        }
        // Started where there is a runtime.
        Answer::Live(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "This cannot be shown live."),
    }
}

fn refuse(status: StatusCode, words: &str) -> Response<Out> {
    page(
        status,
        view::bare(
            "Not done",
            maud::html! { h1 { "Not done" } p { (words) } p { a href="/" { "To the overview" } } },
        ),
    )
}

fn page(status: StatusCode, markup: Markup) -> Response<Out> {
    let mut response = typed(whole(markup.into_string().as_bytes()), "text/html; charset=utf-8");
    *response.status_mut() = status;
    response
}

fn whole(bytes: &[u8]) -> Response<Out> {
    Response::new(Out::Whole(Some(Bytes::copy_from_slice(bytes))))
}

fn typed(mut response: Response<Out>, kind: &'static str) -> Response<Out> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The status that goes with a failure.
pub(super) fn status_of(failure: &Failure) -> StatusCode {
    match failure.code() {
        ErrorCode::InvalidValue | ErrorCode::InvalidFile => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        _ if failure.exit() == Exit::Refused => StatusCode::CONFLICT,
        _ if failure.exit() == Exit::Unreachable => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Screens that are being made until they are told to be done.
    struct Screens {
        work: Arc<Semaphore>,
        begun: Arc<AtomicUsize>,
        made: Vec<(mpsc::Sender<()>, tokio::task::JoinHandle<()>)>,
    }

    impl Screens {
        fn begin(&mut self) {
            let (done, told) = mpsc::channel::<()>();
            let (work, begun) = (Arc::clone(&self.work), Arc::clone(&self.begun));
            let made = tokio::spawn(async move {
                let screen = move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // A test that is over tells all.
                    let _told = told.recv();
                };
                make(&work, screen).await.expect("made");
            });
            self.made.push((done, made));
        }

        async fn begun(&self, count: usize) {
            timeout(Duration::from_secs(30), async {
                while self.begun.load(Ordering::SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await
            .expect("begun in time");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn so_many_screens_are_made_at_once_and_the_next_waits_for_one_of_them() {
        let work = Arc::new(Semaphore::new(WORK_MAX));
        let mut screens = Screens { work: Arc::clone(&work), begun: Arc::default(), made: Vec::new() };
        for _ in 0..WORK_MAX {
            screens.begin();
        }
        screens.begun(WORK_MAX).await;
        assert_eq!(work.available_permits(), 0, "at the bound all are being made");
        // Asked for in this very task, so that it is known to wait.
        let mut next = std::pin::pin!(make(&work, || ()));
        assert!(waits(next.as_mut()).await, "one past the bound waits");
        let (done, made) = screens.made.remove(0);
        drop(done);
        made.await.expect("made");
        timeout(Duration::from_secs(30), next).await.expect("its turn comes").expect("made");
    }

    /// Whether it does not get on by itself.
    async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
        std::future::poll_fn(|waking| Poll::Ready(future.as_mut().poll(waking).is_pending())).await
    }
}
