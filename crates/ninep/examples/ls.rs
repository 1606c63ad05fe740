//! Lists a directory of a 9P server, or prints a file: `cargo run -p ninep --example ls ADDRESS [PATH [DIALECT]]`.

use ninep::Dialect;
use ninep::client::Client;
use op::{Access, Fid, FileKind, Op, Reply};
use std::io::{Error, Read, Result, Write, stdout};
use std::{env, net::TcpStream, process};

fn main() {
    let args: Vec<String> = env::args().collect();
    let Some(address) = args.get(1) else {
        eprintln!("usage: ls ADDRESS [PATH [9P2000|9P2000.L|9P2000.uem]]");
        process::exit(2);
    };
    let wish =
        [Dialect::Plain, Dialect::L].into_iter().find(|wish| Some(wish.name()) == args.get(3).map(|a| &**a));
    if let Err(error) = list(address, args.get(2).map_or("", |path| path), wish.unwrap_or(Dialect::Uem)) {
        eprintln!("{error}");
        process::exit(1);
    }
}

fn list(address: &str, path: &str, wish: Dialect) -> Result<()> {
    // diod, for one, wants a number; 0 is root, who may try.
    let client = Client::new(wish, 64 << 10).with_user("root", Some(0));
    let mut server = Server { client, stream: TcpStream::connect(address)? };
    let access = Access { read: true, ..Access::default() };
    let names = path.split('/').filter(|name| !name.is_empty()).map(String::from).collect();
    let (root, fid) = (Fid(0), Fid(1));
    let tree = env::var("ANAME").unwrap_or_default();
    // One flight in 9P2000.uem: none of these waits for the one before.
    let ops = [
        Op::Attach { fid: root, user: String::new(), tree },
        Op::Walk { fid: root, newfid: fid, names },
        Op::Open { fid, access },
    ];
    let replies = server.ask(ops)?;
    eprintln!("{} spoken", server.client.dialect().map_or("nothing", Dialect::name));
    if let Some(Reply::Walked(qids)) = replies.get(1)
        && qids.len() < path.split('/').filter(|name| !name.is_empty()).count()
    {
        return Err(Error::other(format!("{path} leads nowhere")));
    }
    let Some(Reply::Opened(qid, _)) = replies.last() else { return Err(Error::other("not opened")) };
    let (mut cookie, mut offset) = (0, 0);
    loop {
        let op = match qid.kind {
            FileKind::Dir => Op::List { fid, cookie, count: 1000 },
            FileKind::File | FileKind::Link => Op::Read { fid, offset, count: 1 << 20, wait: true },
        };
        let reply = server.ask([op])?.remove(0);
        if let Reply::Listed(entries) = &reply
            && let Some(last) = entries.last()
        {
            cookie = last.cookie;
            entries.iter().for_each(|entry| println!("{}", entry.stat.name));
        } else if let Reply::Data(data) = &reply
            && !data.is_empty()
        {
            offset += data.len() as u64;
            stdout().write_all(data)?;
        } else {
            break;
        }
    }
    server.ask([Op::Clunk { fid }, Op::Clunk { fid: root }]).map(drop)
}

struct Server {
    client: Client,
    stream: TcpStream,
}

impl Server {
    /// Sends requests in one flight, and waits for all answers; they come in the order of the requests here.
    fn ask<const N: usize>(&mut self, ops: [Op; N]) -> Result<Vec<Reply>> {
        let tags = ops.map(|op| self.client.request(op));
        let (mut replies, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while replies.len() < N {
            self.stream.write_all(self.client.output())?;
            self.client.consume(self.client.output().len());
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(Error::other("the server hung up"));
            }
            self.client.receive(&buffer[..count]).map_err(Error::other)?;
            replies.extend(std::iter::from_fn(|| self.client.next_reply()));
        }
        replies.sort_by_key(|(tag, _)| tags.iter().position(|asked| asked == tag));
        let failed = replies.iter().find_map(|(_, reply)| {
            if let Reply::Failed(error) = reply { Some(Error::other(error.clone())) } else { None }
        });
        failed.map_or(Ok(replies.into_iter().map(|(_, reply)| reply).collect()), Err)
    }
}
