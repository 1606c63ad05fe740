//! Starts: who, where, with what; and the sentence for what could not be started.

use crate::Test;
use crate::world::{World, state_of, user};
use op::{Act, Errno, How, Limits};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

pub(crate) const TESTS: &[Test] = &[
    ("a_program_starts_clean", a_program_starts_clean),
    ("refusals_name_the_step", refusals_name_the_step),
    ("path_is_searched_as_execvp_does", path_is_searched_as_execvp_does),
    ("a_program_runs_as_its_user", a_program_runs_as_its_user),
    ("memory_and_processes_are_limited", memory_and_processes_are_limited),
    ("descriptors_run_short_and_the_node_lives", descriptors_run_short_and_the_node_lives),
];

fn a_program_starts_clean() {
    let mut world = World::new();
    let status =
        world.output_of("grep -E '^(Sig(Blk|Ign|Cgt)|NSpid)' /proc/self/status; umask; ls /proc/self/fd");
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(lines[1].split_whitespace().last(), Some("0000000000000000"), "nothing is blocked: {status}");
    assert_eq!(lines[2].split_whitespace().last(), Some("0000000000000000"), "nothing is ignored: {status}");
    assert_eq!(lines[4], "0022");
    assert_eq!(&lines[5..], ["0", "1", "2", "3"], "3 is ls's own");
    let tag = world.output_of("echo $UEM_SESSION");
    assert_eq!(tag, format!("lab-{}/2\n", std::process::id()));
    let session = world.start_with(&["pwd"], |launch| launch.dir = Some(b"/usr".to_vec()));
    world.exit(session);
    assert_eq!(world.out(session), "/usr\n");
    let nice = world.start_with(&["nice"], |launch| launch.nice = 5);
    world.exit(nice);
    assert_eq!(world.out(nice), "5\n");
}

fn refusals_name_the_step() {
    let mut world = World::new();
    let file = |name: &str, text: &str, mode: u32| {
        let path = world.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let orphan = file("orphan", "#!/no/such/interpreter -x\n", 0o755);
    let text = file("text", "hello\n", 0o755);
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let mut check = |argv: &[&str], errno: Errno, words: &[&str]| {
        let session = world.start(argv);
        let error = world.refusal(session);
        assert_eq!(error.errno, errno, "{error}");
        for word in words {
            assert!(error.cause.contains(word), "{word:?} in {error}");
        }
    };
    check(&["/no/such"], Errno::NOENT, &["exec /no/such: No such file or directory"]);
    check(&["nosuchprogram"], Errno::NOENT, &["exec nosuchprogram: not found in PATH"]);
    check(&[&orphan], Errno::NOENT, &["its interpreter /no/such/interpreter does not exist"]);
    check(&[&text], Errno::NOEXEC, &["Exec format error (no #! line"]);
    check(&[&plain], Errno::ACCES, &["Permission denied", "not executable"]);
    check(&["/usr"], Errno::ACCES, &["is a directory"]);
    let session = world.start_with(&["true"], |launch| launch.dir = Some(b"/nope".to_vec()));
    assert_eq!(world.refusal(session).cause, "cannot enter directory /nope: No such file or directory");
    // Nothing is left of them, and the node works.
    let after = world.sh("exit 3");
    assert_eq!(world.code(after), How::Code(3));
}

fn path_is_searched_as_execvp_does() {
    let mut world = World::new();
    let dir = world.dir.path().to_str().unwrap().to_owned();
    std::fs::create_dir(format!("{dir}/a")).unwrap();
    std::fs::write(format!("{dir}/a/prog"), "not for running").unwrap();
    std::fs::create_dir(format!("{dir}/b")).unwrap();
    std::fs::copy("/bin/true", format!("{dir}/b/prog")).unwrap();
    let path = |dirs: &str| Arc::new(vec![format!("PATH={dirs}").into_bytes()]);
    let found =
        world.start_with(&["prog"], |launch| launch.env = path(&format!("{dir}/none:{dir}/a:{dir}/b")));
    assert_eq!(world.code(found), How::Code(0));
    let denied = world.start_with(&["prog"], |launch| launch.env = path(&format!("{dir}/a:{dir}/none")));
    assert_eq!(world.refusal(denied).errno, Errno::ACCES);
}

fn a_program_runs_as_its_user() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let mut world = World::new();
    let session = world.start_with(&["id"], |launch| launch.user = user(65534));
    assert_eq!(world.code(session), How::Code(0));
    assert!(world.out(session).starts_with("uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)"));
    let nice = world.start_with(&["true"], |launch| (launch.user, launch.nice) = (user(65534), -5));
    assert_eq!(world.refusal(nice).cause, "cannot set nice -5: Permission denied");
    let secret = world.dir.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o700)).unwrap();
    let there = secret.to_str().unwrap().as_bytes().to_vec();
    let shut = world.start_with(&["true"], |launch| (launch.user, launch.dir) = (user(65534), Some(there)));
    assert_eq!(world.refusal(shut).errno, Errno::ACCES);
}

fn memory_and_processes_are_limited() {
    let mut world = World::new();
    let limits =
        Limits { mem: Some(64 << 20), pids: Some(5), cpu: Some(500), fds: Some(40), ..Limits::default() };
    let session = world.start_with(
        &["sh", "-c", "ulimit -n; head -c 300m /dev/zero | tail -c 300m | wc -c"],
        |launch| {
            launch.limits = limits;
        },
    );
    world.exit(session);
    assert!(world.out(session).starts_with("40\n"));
    assert!(!world.out(session).contains("314572800"), "more memory than its limit: {}", world.out(session));
    println!("limits are kept by {}", world.limits_by(session));
    let bomb = "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait";
    let session = world.start_with(&["sh", "-c", bomb], |launch| launch.limits = limits);
    world.exit(session);
    assert!(world.err(session).contains("fork"), "{}", world.err(session));
    world.act(Act::Signal { session, signal: 9, all: true });
    world.closed(session);
    world.act(Act::Free(session));
    // The limits of one that runs are changed.
    let session = world.start_with(&["sh", "-c", "read x; ulimit -n"], |_| {});
    world.act(Act::Limit { session, limits: Limits { fds: Some(33), ..Limits::default() } });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    world.exit(session);
    assert_eq!(world.out(session), "33\n");
}

fn descriptors_run_short_and_the_node_lives() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
    let mut world = World::new();
    let mut running = Vec::new();
    let refused = loop {
        let session = world.start(&["sleep", "1000"]);
        if world
            .tells
            .iter()
            .any(|tell| matches!(tell, op::Tell::Refused { session: of, .. } if *of == session))
        {
            break world.refusal(session);
        }
        running.push(session);
    };
    assert_eq!(refused.errno, Errno::MFILE);
    assert!(refused.cause.contains("ulimit -n"), "{refused}");
    assert!(running.len() > 50, "{} at once", running.len());
    assert!(state_of(world.pid(running[0])).is_some());
    for session in &running {
        world.act(Act::Free(*session));
    }
    world.until("the freed are gone", |world| {
        let session = world.start(&["true"]);
        let refused =
            world.tells.iter().any(|t| matches!(t, op::Tell::Refused { session: of, .. } if *of == session));
        (!refused).then_some(())
    });
}
