//! How ranks without MPI find each other: rank 0 listens at an address that all know and gives
//! every other rank the same bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

/// Pause between looks for the others.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest silence of a connection.
const SILENCE: Duration = Duration::from_secs(10);

/// Where ranks meet and how long they wait for each other.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// `host:port`, the host being rank 0's.
    pub address: String,
    /// Longest wait for the others.
    pub patience: Duration,
}

impl Meeting {
    fn failed(&self, problem: impl std::fmt::Display) -> HarnessError {
        HarnessError::Unavailable {
            what: format!("the meeting of all ranks at {} ({problem})", self.address),
            hint: "start every rank, and set CROSSSCALE_MEETING=HOST:PORT to a free port of rank \
                   0's machine"
                .to_owned(),
        }
    }

    /// Gives `bytes` to the other `ranks - 1` ranks.
    ///
    /// # Errors
    /// [`HarnessError::Unavailable`] if they do not all come in time.
    pub fn give(&self, ranks: usize, bytes: &[u8]) -> Result<()> {
        let listener = TcpListener::bind(&self.address).map_err(|error| self.failed(error))?;
        listener.set_nonblocking(true).map_err(|error| self.failed(error))?;
        let begun = Instant::now();
        let mut met = vec![false; ranks];
        met[0] = true;
        while met.contains(&false) {
            if let Ok((stream, _)) = listener.accept()
                // A visitor that is no rank of ours is sent away.
                && let Ok(rank) = answer(stream, ranks, bytes)
            {
                met[rank] = true;
            } else if begun.elapsed() > self.patience {
                let missing = met.iter().filter(|came| !**came).count();
                return Err(self.failed(format!("{missing} of {ranks} ranks did not come")));
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Takes `bytes.len()` bytes from rank 0 as `rank` of `ranks`.
    ///
    /// # Errors
    /// [`HarnessError::Unavailable`] if rank 0 does not answer in time.
    pub fn take(&self, rank: usize, ranks: usize, bytes: &mut [u8]) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.ask(rank, ranks, bytes) {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > self.patience => return Err(self.failed(error)),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn ask(&self, rank: usize, ranks: usize, bytes: &mut [u8]) -> std::io::Result<()> {
        let address = self.address.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| std::io::Error::other("no such host"))?;
        let mut stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(&greeting(rank, ranks))?;
        stream.read_exact(bytes)
    }
}

/// What a rank says first.
fn greeting(rank: usize, ranks: usize) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&(rank as u64).to_le_bytes());
    text[8..].copy_from_slice(&(ranks as u64).to_le_bytes());
    text
}

/// Gives `bytes` to a rank of ours; which one it was.
fn answer(mut stream: TcpStream, ranks: usize, bytes: &[u8]) -> std::io::Result<usize> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut said = [0; 16];
    stream.read_exact(&mut said)?;
    let rank = (1..ranks).find(|&rank| greeting(rank, ranks) == said);
    let rank = rank.ok_or_else(|| std::io::Error::other("not one of us"))?;
    stream.write_all(bytes)?;
    Ok(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that was free a moment ago.
    fn meeting(patience: Duration) -> Meeting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Meeting { address: listener.local_addr().unwrap().to_string(), patience }
    }

    #[test]
    fn invariant_every_rank_gets_the_bytes_of_rank_0_and_strangers_get_none() {
        let meeting = meeting(Duration::from_secs(20));
        std::thread::scope(|scope| {
            let come = |rank| {
                let mut got = [0; 5];
                meeting.take(rank, 3, &mut got).map(|()| got)
            };
            let late = scope.spawn(move || come(2));
            let stranger = scope.spawn(|| {
                let mut got = [0; 5];
                Meeting { patience: Duration::from_millis(300), ..meeting.clone() }
                    .take(1, 2, &mut got)
            });
            std::thread::sleep(Duration::from_millis(200));
            let early = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(400));
                come(1)
            });
            meeting.give(3, b"bytes").unwrap();
            assert_eq!(&early.join().unwrap().unwrap(), b"bytes");
            assert_eq!(&late.join().unwrap().unwrap(), b"bytes");
            assert!(stranger.join().unwrap().is_err(), "a rank of another training");
        });
    }

    #[test]
    fn invariant_a_rank_that_does_not_come_is_an_error_with_code_6() {
        let meeting = meeting(Duration::from_millis(200));
        let error = meeting.give(2, b"bytes").unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("1 of 2 ranks did not come"), "{error}");
        assert_eq!(meeting.take(1, 2, &mut [0]).unwrap_err().exit_code(), 6);
    }
}
