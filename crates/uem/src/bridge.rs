//! `uem bridge`: standard input and output, joined to the local node. Nobody types it: at the other end of an ssh(1) it is
//! how a node is talked to (`ssh!host`), and with `--link` how nodes are linked.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use host::dial::Addr;
use link::identity::Home;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// Join standard input and output to the local node
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// To where it listens for other nodes
    #[arg(long)]
    link: bool,
}

/// Bytes that are copied at a time.
const PIECE: usize = 64 << 10;

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let state = common.state_dir();
    if !args.link {
        let path = crate::start::socket(&state);
        let stream = UnixStream::connect(&path);
        let stream = stream.map_err(|error| nobody(format!("unix!{}: {error}", path.display())))?;
        let back = stream.try_clone()?;
        return join(stream, back, |stream| drop(stream.shutdown(Shutdown::Write)));
    }
    let listen = Home::open(&state)?.listen()?;
    let listen = listen.ok_or_else(|| nobody("it does not listen for other nodes".into()))?;
    let Addr::Tls(host, port) = Addr::parse_link(&listen).map_err(Failure::new)? else {
        return Err(nobody(format!("{listen} is nowhere to listen")));
    };
    let host = crate::own::dialled(&host);
    let stream = TcpStream::connect((host, port)).map_err(|error| nobody(format!("{listen}: {error}")))?;
    stream.set_nodelay(true)?;
    let back = stream.try_clone()?;
    join(stream, back, |stream| drop(stream.shutdown(Shutdown::Write)))
}

fn nobody(cause: String) -> Failure {
    Failure::new(cause).hint("is a node up on this machine? uem up starts one")
}

/// Copies both ways, until the node has said all.
fn join<S>(mut to: S, mut from: S, end: fn(&S)) -> Outcome
where
    S: Read + Write + Send + 'static,
{
    // It may be waiting for input that never comes when the node has ended; then it goes with this process.
    std::thread::spawn(move || {
        let _either_end_is_gone = copy(&mut io::stdin().lock(), &mut to);
        end(&to);
    });
    copy(&mut from, &mut io::stdout().lock())?;
    Ok(0)
}

/// What came is on its way before more is waited for.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
