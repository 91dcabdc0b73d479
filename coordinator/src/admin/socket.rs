//! The socket in the data folder through which verbs reach a running coordinator: one JSON line
//! asks, one answers. The folder and the socket are its owner's alone, and so are the verbs.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::{Admin, AdminError, Answer, Kind, Request};

/// Bytes of a line.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a socket's path: 108 with the zero at its end on Linux, 104 elsewhere.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// Time for a request to arrive whole.
const REQUEST: Duration = Duration::from_secs(10);

/// A line that answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Answer),
    Error(AdminError),
}

/// The listening end. Dropping it removes the socket.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Listens. The caller holds the lock of the data folder, so a socket that is there was left
    /// behind by a coordinator that was killed.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(Short::of(path)?.path())?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until the future is dropped.
    pub async fn serve(&self, admin: Arc<Admin>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let admin = Arc::clone(&admin);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, &admin).await {
                            tracing::debug!(%error, "a verb's connection broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the admin socket failed; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // The next start removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// A socket's path in a form that the kernel takes: it has room for about a hundred bytes, and a
/// data folder may lie deeper than that.
struct Short {
    path: PathBuf,
    /// Open for as long as the path is used.
    _folder: Option<File>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !cfg!(target_os = "linux") {
            let bytes = path.as_os_str().len();
            return Err(io::Error::other(format!(
                "the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, this one has \
                 {bytes}; choose a data folder with a shorter path (`--data`)"
            )));
        }
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

async fn answer(stream: UnixStream, admin: &Admin) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let line = timeout(REQUEST, line(read)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => match admin.handle(request).await {
            Ok(answer) => Reply::Ok(answer),
            Err(error) => Reply::Error(error),
        },
        Err(error) => {
            let message = format!("not a verb of this build: {error}");
            Reply::Error(AdminError::new(Kind::Invalid, "bad_request", message))
        }
    };
    write.write_all(&reply_line(&reply)?).await
}

/// A reply as a line that whoever asks reads whole. One that is longer is said to be, and how to
/// ask for less.
fn reply_line(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(reply)?;
    if bytes.len() as u64 >= LINE_BYTES_MAX {
        let (length, most) = (bytes.len().div_ceil(1 << 20), LINE_BYTES_MAX >> 20);
        let message = format!(
            "the answer takes {length} MiB, at most {most} MiB are sent; ask for less (`--last N` \
             with `rounds` and `model list`, `--tenant` with `client list`)"
        );
        let error = AdminError::new(Kind::Invalid, "answer_too_long", message);
        bytes = serde_json::to_vec(&Reply::Error(error))?;
    }
    bytes.push(b'\n');
    Ok(bytes)
}

async fn line(read: impl tokio::io::AsyncRead + Unpin) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Asks a running coordinator. `None`: nobody listens there.
///
/// # Errors
/// What the coordinator answered, or that it broke off.
pub async fn ask(path: &Path, request: &Request) -> Result<Option<Answer>, AdminError> {
    let short = match Short::of(path) {
        Ok(short) => short,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unreachable_at(path, &error)),
    };
    let stream = match UnixStream::connect(short.path()).await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unreachable_at(path, &error)),
    };
    let reply = exchange(stream, request).await.map_err(|error| unreachable_at(path, &error))?;
    match serde_json::from_str(&reply) {
        Ok(Reply::Ok(answer)) => Ok(Some(answer)),
        Ok(Reply::Error(error)) => Err(error),
        Err(error) => Err(unreachable_at(path, &error.into())),
    }
}

async fn exchange(stream: UnixStream, request: &Request) -> io::Result<String> {
    let (read, mut write) = stream.into_split();
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    line(read).await
}

/// Nobody listens there; where the folder is a file, nobody could, and whoever opens it says so.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory)
}

fn unreachable_at(path: &Path, error: &io::Error) -> AdminError {
    let message = format!("the coordinator at {} does not answer: {error}", path.display());
    AdminError::new(Kind::Unreachable, "no_answer", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::AuditView;

    fn answer(entries: usize) -> Reply {
        let view =
            AuditView { tenant: "acme".into(), entries: 1, head: "0".repeat((1 << 20) - 100) };
        Reply::Ok(Answer::Audit(vec![view; entries]))
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_for_a_line_says_so_and_how_to_ask_for_less() {
        for (entries, whole) in [(15, true), (17, false)] {
            let bytes = reply_line(&answer(entries)).unwrap();
            let read = line(bytes.as_slice()).await.expect("it is read whole");
            match serde_json::from_str(&read).unwrap() {
                Reply::Ok(Answer::Audit(views)) => assert!(whole && views.len() == entries),
                Reply::Ok(other) => panic!("{other:?}"),
                Reply::Error(error) => {
                    let told = error.to_string();
                    assert!(!whole && told.contains("--last N") && !told.contains('\n'), "{told}");
                }
            }
        }
    }
}
