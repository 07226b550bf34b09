//! One plan from start to finish, with its output in chunks and counted against its limit.

use super::pipeline::{Output, Sink, Stop};
use super::plan::Plan;
use super::providers::{ProviderError, Registry, run_source};
use super::wire::{CHUNK_BYTES_MAX, Finish, Status, Stream};

/// Takes chunks on their way out.
pub(super) trait ChunkWriter {
    /// Takes one chunk.
    fn write(&mut self, stream: Stream, text: &str) -> Result<(), Stop>;
}

/// Runs a plan with the provider of its command and gives its output to `writer` in chunks, up to the plan's limit.
pub(super) fn execute(plan: &Plan, registry: &Registry, writer: impl ChunkWriter) -> Finish {
    execute_with(plan, writer, |sink| registry.answer(plan, sink))
}

/// As [`execute`], with the objects from `source`.
pub(super) fn execute_with(
    plan: &Plan,
    writer: impl ChunkWriter,
    source: impl FnOnce(&mut dyn Sink) -> Result<(), ProviderError>,
) -> Finish {
    let mut output = Chunks { writer, held: String::new(), left: plan.limits.output_bytes, given: 0 };
    let ended = run_source(plan, &mut output, source);
    let flushed = output.flush().map_err(ProviderError::from);
    let mut finish = match ended.and(flushed) {
        Ok(()) | Err(ProviderError::Stop(Stop::Enough)) => Finish::new(Status::Done, ""),
        Err(ProviderError::Stop(Stop::OutputLimit)) => {
            let limit = plan.limits.output_bytes;
            Finish::new(Status::OutputLimit, format!("the output was cut at {limit} bytes; ask for less"))
        }
        Err(ProviderError::Stop(Stop::Closed)) => {
            Finish::new(Status::Killed, "nobody reads the output any more")
        }
        Err(error) => Finish::new(Status::Failed, error.to_string()),
    };
    finish.output_bytes = output.given;
    finish
}

/// Gathers text into chunks and counts it against the limit.
struct Chunks<W: ChunkWriter> {
    writer: W,
    held: String,
    left: u64,
    given: u64,
}

impl<W: ChunkWriter> Chunks<W> {
    fn send(&mut self, stream: Stream, text: &str) -> Result<(), Stop> {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(floor_boundary(rest, CHUNK_BYTES_MAX));
            let fits = floor_boundary(piece, usize::try_from(self.left).unwrap_or(usize::MAX));
            if fits > 0 {
                self.writer.write(stream, &piece[..fits])?;
                let bytes = u64::try_from(fits).unwrap_or(u64::MAX);
                self.left = self.left.saturating_sub(bytes);
                self.given = self.given.saturating_add(bytes);
            }
            if fits < piece.len() {
                self.left = 0;
                return Err(Stop::OutputLimit);
            }
            rest = after;
        }
        Ok(())
    }
}

/// The largest length up to `length` at which the text can be cut between characters.
fn floor_boundary(text: &str, length: usize) -> usize {
    let mut at = length.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl<W: ChunkWriter> Output for Chunks<W> {
    fn text(&mut self, text: &str) -> Result<(), Stop> {
        if self.held.len() + text.len() > CHUNK_BYTES_MAX {
            self.flush()?;
        }
        if text.len() > CHUNK_BYTES_MAX {
            return self.send(Stream::Output, text);
        }
        self.held.push_str(text);
        Ok(())
    }

    fn error(&mut self, text: &str) -> Result<(), Stop> {
        self.flush()?;
        self.send(Stream::Error, &format!("{text}\n"))
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let mut held = std::mem::take(&mut self.held);
        let sent = self.send(Stream::Output, &held);
        held.clear();
        self.held = held;
        sent
    }
}
