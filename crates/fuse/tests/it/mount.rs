//! Real mounts, used by real programs. They need root, as the tests' machine has; the one for ordinary users becomes
//! `nobody`.

use crate::server::{Dir, Running, SOON, Server, wait};
use fuse::recover;
use op::{Errno, Uid};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// The server's own errors are what the other tests are about; these need a mount at all.
fn may_mount() -> bool {
    let may = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !may {
        eprintln!("SKIPPED: a real mount needs root and /dev/fuse");
    }
    may
}

#[test]
fn programs_find_what_they_expect() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("deep/er"));
    assert_eq!(server.says("cat hello"), "hello, world\n");
    assert_eq!(server.says("cat link"), "hello, world\n");
    assert_eq!(server.says("readlink link"), "hello\n");
    assert_eq!(server.says("ls"), "await\nbig\nblock\nclone\nctl\ndeaf\nhello\nlink\nmany\nspool\n");
    let long = server.says("TZ=UTC LC_ALL=C ls -ln --time-style=+%s hello");
    assert_eq!(long, "-rw-rw-rw- 1 0 0 13 1000000000 hello\n");
    assert_eq!(server.says("ls -la many | wc -l"), "303\n");
    assert_eq!(server.says("find . -type f | wc -l"), "307\n");
    assert_eq!(server.says("find . -name 'file2*' -exec cat {} + | wc -c"), "200\n");
    assert_eq!(server.says("cat many/* | wc -l"), "300\n");
    assert_eq!(server.sh("cat missing").status.code(), Some(1));
    assert_eq!(server.sh("mkdir x && mv x y && test -d y && ! test -e x && rmdir y").status.code(), Some(0));
    server.says("ln -s hello l && cat l && mv l many/m && test -L many/m && mv -n many/m link && rm many/m");
    assert_eq!(server.sh("ln hello hard").status.code(), Some(1));
    server.says("df . && stat -f . && sync hello");
}

#[test]
fn bytes_arrive_as_they_were_sent() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let copy = dir.join("copy").display().to_string();
    for how in ["cp big", "cat big >", "dd status=none bs=1M if=big of=", "dd status=none bs=777 if=big of="]
    {
        let gap = if how.ends_with('=') { "" } else { " " };
        server.says(&format!("{how}{gap}{copy} && cmp big {copy} && rm {copy}"));
    }
    server.says(
        "cp big made && cmp big made && test $(stat -c %s made) = 3145783 && rm made && ! test -e made",
    );
    assert_eq!(
        server.says("echo one > made; echo two >> made; truncate -s 5 made; cat made; touch made"),
        "one\nt"
    );
    assert_eq!(server.says("chmod 600 made; stat -c %a made"), "600\n");
    server.says("dd status=none if=/dev/zero of=zeros bs=3M count=1 && test $(cat zeros | wc -c) = 3145728");
}

#[test]
fn a_ctl_file_is_written_line_by_line_by_whoever_writes() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    server.says("echo exec date > ctl; echo kill >> ctl");
    server.says("setpriv --reuid=65534 --clear-groups sh -c 'echo mine > ctl'");
    let seen = server.wait("writing", |seen| seen.lines.len() == 3);
    let line = |uid, text: &str| (Uid(uid), text.to_owned());
    assert_eq!(seen.lines, [line(0, "exec date\n"), line(0, "kill\n"), line(65534, "mine\n")]);
    let ids = server
        .says("cat clone; cat clone; exec 3<>clone 4<>clone; echo x >&4; read a <&3; read b <&4; echo $a $b");
    let ids: Vec<u64> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]) && ids.len() == 4, "{ids:?}");
    server.wait("closing", |seen| seen.lines.len() == 4);
}

#[test]
fn a_waiting_cat_ends_at_once_when_it_is_killed() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    for file in ["block", "await/x"] {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let cat = server.start("cat", file);
            server.wait("waiting", |seen| seen.parked == 1);
            let start = Instant::now();
            cat.kill(signal);
            let status = cat.finish().status;
            assert_eq!(status.signal(), Some(signal.as_raw()), "{file}");
            assert!(start.elapsed() < SOON / 10, "{file}: {:?}", start.elapsed());
            server.wait("giving up", |seen| seen.parked == 0);
        }
    }
    // A writer waits as well as a reader.
    let mut writer = Command::new("sh");
    let script = format!("exec echo x > {}", server.path("deaf").display());
    let writer =
        Running(writer.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    server.wait("waiting", |seen| seen.parked == 1);
    writer.kill(Signal::TERM);
    assert_eq!(writer.finish().status.signal(), Some(15));
    server.wait("giving up", |seen| seen.parked == 0);
}

#[test]
fn a_writer_that_waits_does_not_hinder_who_opens_the_file_after_it() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let writer = || {
        let script = format!("exec echo x > {}", server.path("deaf").display());
        let mut sh = Command::new("sh");
        Running(sh.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let writers = [1, 2, 3].map(|n| {
        let writer = writer();
        server.wait("writing", |seen| seen.parked == n);
        writer
    });
    for writer in writers {
        writer.kill(Signal::TERM);
        assert_eq!(writer.finish().status.signal(), Some(15));
    }
    server.wait("giving up", |seen| seen.parked == 0);
}

#[test]
fn those_who_wait_hinder_nobody() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let readers = [server.start("cat", "block"), server.start("cat", "block")];
    let seeker = server.start("cat", "await/x");
    server.wait("waiting", |seen| seen.parked == 3);
    assert_eq!(server.says("cat hello && ls many | wc -l && cat clone >/dev/null"), "hello, world\n300\n");
    assert_eq!(server.says("ls await; cd await && ls .. | wc -l"), "10\n");
    server.grow("block", b"at last\n");
    // One of the two gets it and waits again; it is a stream.
    let [mut one, mut two] = readers;
    let (first, second) = (lines_of(&mut one), lines_of(&mut two));
    server.wait("growing", |seen| seen.grown == 1 && seen.parked == 3);
    let start = Instant::now();
    let line = loop {
        let line = first.try_recv().or_else(|_| second.try_recv());
        assert!(start.elapsed() < SOON, "nobody gets it");
        if let Ok(line) = line {
            break line;
        }
        std::thread::yield_now();
    };
    assert_eq!(line, "at last\n");
    drop((one, two, seeker));
    server.wait("giving up", |seen| seen.parked == 0);
}

#[test]
fn a_reader_that_does_not_wait_is_told_to_try_again() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fd = rustix::fs::open(server.path("block"), flags, Mode::empty()).unwrap();
    assert_eq!(rustix::io::read(&fd, &mut [0; 10]), Err(rustix::io::Errno::AGAIN));
    server.grow("block", b"12");
    server.wait("growing", |seen| seen.grown == 1);
    assert_eq!(rustix::io::read(&fd, &mut [0; 10]), Ok(2));
    assert_eq!(rustix::io::read(&fd, &mut [0; 10]), Err(rustix::io::Errno::AGAIN));
    assert_eq!(
        rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(1)),
        Err(rustix::io::Errno::SPIPE),
        "a stream"
    );
}

#[test]
fn a_spool_is_followed_until_that_is_interrupted() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let cat = server.start("cat", "spool");
    server.wait("waiting", |seen| seen.parked == 1);
    server.grow("spool", b"three\n");
    server.wait("growing", |seen| seen.grown == 1 && seen.parked == 1);
    cat.kill(Signal::INT);
    assert_eq!(cat.finish().stdout, b"one\ntwo\nthree\n");
    // This one reads to the end and waits there; the usual `tail -f` asks for the size every second instead.
    let mut tail = Command::new("tail");
    tail.args(["-n+1", "-f"]).arg(server.path("spool")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tail = Running(tail.spawn().unwrap());
    server.wait("waiting", |seen| seen.parked == 1);
    tail.kill(Signal::INT);
    assert_eq!(tail.finish().status.signal(), Some(2));
    server.wait("giving up", |seen| seen.parked == 0);
    let mut tail = Command::new("tail");
    tail.arg("-f").arg(server.path("spool")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = Running(tail.spawn().unwrap());
    let lines = lines_of(&mut tail);
    for line in ["one\n", "two\n", "three\n"] {
        assert_eq!(lines.recv_timeout(SOON).unwrap(), line);
    }
    server.grow("spool", b"four\n");
    assert_eq!(lines.recv_timeout(SOON).unwrap(), "four\n");
    tail.kill(Signal::INT);
    assert!(wait(&mut tail.0));
}

/// The lines that a program prints, as they come.
fn lines_of(running: &mut Running) -> Receiver<String> {
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 && sender.send(std::mem::take(&mut line)).is_ok() {}
    });
    receiver
}

#[test]
fn what_is_unmounted_is_let_go_whoever_waits() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let cat = server.start("cat", "block");
    server.wait("waiting", |seen| seen.parked == 1);
    drop(server);
    assert_eq!(cat.finish().status.code(), Some(1));
    assert_eq!(std::fs::read_dir(dir.join("mnt")).unwrap().count(), 0);
    // The other way round: somebody else unmounts, and the server ends by itself.
    let server = Server::new(&dir.join("mnt"));
    assert!(Command::new("umount").arg(dir.join("mnt")).status().unwrap().success());
    drop(server);
}

#[test]
fn a_place_that_is_taken_is_refused_in_words() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let server = Server::new(&dir.join("mnt"));
    let error = fuse::Mount::new(&dir.join("mnt")).unwrap_err();
    assert_eq!(error.errno, Errno::BUSY);
    assert!(error.cause.contains("(a fuse.uem)"), "{error}");
    assert_eq!(recover(&dir.join("mnt")), Ok(false), "what lives is left alone");
    drop(server);
    std::fs::write(dir.join("mnt/file"), "").unwrap();
    let error = fuse::Mount::new(&dir.join("mnt")).unwrap_err();
    assert!(error.errno == Errno::NOTEMPTY && error.cause.contains("not empty"), "{error}");
    let error = fuse::Mount::new(&dir.join("mnt/file")).unwrap_err();
    assert!(error.cause.contains("cannot be mounted on"), "{error}");
}

/// Not a test: a server in a process of its own, for those that kill it or run it as somebody else.
#[test]
#[ignore = "is started by other tests"]
fn serve_until_killed() {
    let Some(dir) = std::env::var_os("FUSE_SERVE") else { return };
    let server = Server::new(Path::new(&dir));
    println!("\nSERVING {}", server.path("").display());
    let _ = std::io::stdin().read(&mut [0]);
}

/// Runs that in a child, by way of a command that changes who it is.
fn serve_in_child(program: &Path, before: &[&str], dir: &Path) -> Running {
    let mut words = before.iter().map(|word| word.as_ref()).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", "mount::serve_until_killed", "--ignored", "--nocapture"]);
    let child =
        command.env("FUSE_SERVE", dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(child.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.starts_with("SERVING") {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            let mut said = String::new();
            child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it does not serve: {said}");
        }
    }
    child
}

#[test]
fn what_a_killed_server_left_is_unmounted_before_the_next() {
    if !may_mount() {
        return;
    }
    let dir = Dir::new();
    let point = dir.join("a place");
    let mut server = serve_in_child(&std::env::current_exe().unwrap(), &[], &point);
    assert_eq!(std::fs::read_to_string(point.join("hello")).unwrap(), "hello, world\n");
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    let dead = std::fs::metadata(&point).unwrap_err();
    assert_eq!(dead.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()));
    assert_eq!(recover(&point), Ok(true));
    assert_eq!(recover(&point), Ok(false));
    let mut server = serve_in_child(&std::env::current_exe().unwrap(), &[], &point);
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    let server = Server::new(&point);
    assert_eq!(server.says("cat hello"), "hello, world\n");
}

/// Where `/dev/fuse` is root's alone, as in some containers, `fusermount3` cannot open it for others. The test is then run
/// once more in a mount name space of its own, with a `/dev/fuse` as udev makes it.
fn with_open_device(dir: &Dir, test: &str) -> bool {
    if std::fs::metadata("/dev/fuse").unwrap().mode() & 0o006 == 0o006 {
        return false;
    }
    let script =
        "mknod -m 666 $0/fuse c 10 229 && mount --bind $0/fuse /dev/fuse && exec $1 --exact $2 --nocapture";
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&dir.0).arg(program).arg(test);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    if !may_mount() {
        return;
    }
    if Command::new("fusermount3").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: no fusermount3 (apt install fuse3)");
    }
    if !Path::new("/etc/mtab").exists() {
        return eprintln!("SKIPPED: fusermount3 wants /etc/mtab (ln -s /proc/self/mounts /etc/mtab)");
    }
    let dir = Dir::new();
    if with_open_device(&dir, "mount::an_ordinary_user_mounts_through_fusermount3") {
        return;
    }
    let (home, program) = (dir.join("home"), dir.join("program"));
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let point = home.join("uem");
    let as_nobody = |script: &str| {
        let mut command = Command::new(nobody[0]);
        let output = command
            .args(&nobody[1..])
            .args(["sh", "-c", script])
            .current_dir("/")
            .env("DIR", &point)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let mut server = serve_in_child(&program, &nobody, &point);
    assert_eq!(as_nobody("cat $DIR/hello; ls $DIR/many | wc -l"), "hello, world\n300\n");
    let denied = std::fs::metadata(point.join("hello")).unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(13), "the mount is its owner's alone, root included");
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    // The next one finds the dead mount, unmounts it, and ends well when its standard input does.
    let mut server = serve_in_child(&program, &nobody, &point);
    assert_eq!(as_nobody("cat $DIR/hello"), "hello, world\n");
    drop(server.0.stdin.take());
    assert!(wait(&mut server.0) && server.0.wait().unwrap().success());
    assert_eq!(
        std::fs::metadata(&point).unwrap().dev(),
        std::fs::metadata(&home).unwrap().dev(),
        "unmounted"
    );
}
