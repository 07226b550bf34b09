//! The measurements. The driver speaks plain TCP with plain threads, the same for every path.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::paths::PathUnderTest;
use super::{CHUNK_BYTES, Outcome, PERIOD, pattern, process};

const GIB: f64 = (1_u64 << 30) as f64;

/// Bytes of the small messages.
const SMALL_BYTES: usize = 128;

fn open(port: u16, wanted: u64) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&wanted.to_be_bytes())?;
    Ok(stream)
}

/// Takes bytes and compares each with what it should be.
fn take(port: u16, bytes: usize) -> Outcome<()> {
    let mut stream = open(port, bytes as u64)?;
    let (pattern, mut buffer, mut done) = (pattern(), vec![0; CHUNK_BYTES], 0);
    while done < bytes {
        let count = stream.read(&mut buffer)?;
        let start = done % PERIOD;
        if count == 0 || buffer[..count] != pattern[start..start + count] {
            return Err(format!("wrong bytes, or too few, at {done}").into());
        }
        done += count;
    }
    Ok(())
}

/// What a bulk transfer gave and took.
pub(crate) struct Bulk {
    /// MB/s of all streams together.
    pub(crate) rate: f64,
    /// CPU seconds of the middle for one GiB.
    pub(crate) middle: f64,
    /// CPU seconds of middle and ends for one GiB.
    pub(crate) whole: f64,
}

/// Moves bytes from the target to the driver.
pub(crate) fn bulk(path: &PathUnderTest, streams: usize, bytes: usize) -> Outcome<Bulk> {
    let middle = || path.middle.as_ref().map_or(Ok(Duration::ZERO), process::Part::cpu);
    let (port, each) = (path.port, bytes / streams);
    let (middle_before, whole_before, begun) = (middle()?, path.cpu()?, Instant::now());
    let threads: Vec<_> = (0..streams).map(|_| std::thread::spawn(move || take(port, each))).collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread of the driver panicked")??;
    }
    let took = begun.elapsed();
    let total = (each * streams) as f64;
    let cost = |time: Duration| time.as_secs_f64() * GIB / total;
    Ok(Bulk {
        rate: total / 1e6 / took.as_secs_f64(),
        middle: cost(middle()? - middle_before),
        whole: cost(path.cpu()? - whole_before),
    })
}

/// Round trips of a small message, in microseconds and in order.
pub(crate) fn round_trips(port: u16, count: usize) -> Outcome<Vec<f64>> {
    let mut stream = open(port, 0)?;
    let (message, mut answer) = ([7; SMALL_BYTES], [0; SMALL_BYTES]);
    let mut times = Vec::with_capacity(count);
    // The first ones warm up.
    for index in 0..count + count / 10 {
        let begun = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if index >= count / 10 {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// From the first packet of a new session to the first byte of its answer, in microseconds and in order.
pub(crate) fn first_bytes(port: u16, count: usize) -> Outcome<Vec<f64>> {
    let mut times = (0..count).map(|_| session(port)).collect::<Outcome<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn session(port: u16) -> Outcome<f64> {
    let begun = Instant::now();
    let mut stream = open(port, 0)?;
    stream.write_all(&[7; SMALL_BYTES])?;
    let mut answer = [0; SMALL_BYTES];
    stream.read_exact(&mut answer[..1])?;
    let took = begun.elapsed();
    stream.read_exact(&mut answer[1..])?;
    Ok(took.as_secs_f64() * 1e6)
}

/// New sessions per second, several at once, each used once.
pub(crate) fn sessions(port: u16, at_once: usize, time: Duration) -> Outcome<f64> {
    let begun = Instant::now();
    let work = move || {
        let mut count = 0_u32;
        while begun.elapsed() < time {
            session(port)?;
            count += 1;
        }
        Outcome::Ok(count)
    };
    let threads: Vec<_> = (0..at_once).map(|_| std::thread::spawn(work)).collect();
    let mut total = 0;
    for thread in threads {
        total += thread.join().map_err(|_| "a thread of the driver panicked")??;
    }
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

/// The value below which this part of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Middle, least and greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (quantile(&values, 0.5), values[0], values[values.len() - 1])
}
