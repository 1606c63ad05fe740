//! Floors: the same work with nothing around it.

use crate::table::Outcome;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A command line as posix_spawn(3) wants it.
pub(crate) struct Program {
    words: Vec<CString>,
    /// Ours: what a program reads at its start depends on it (`LANG` alone makes echo(1) open four files).
    env: Vec<CString>,
}

impl Program {
    pub(crate) fn new(path: &Path, args: &[&str]) -> Outcome<Program> {
        let mut words = vec![CString::new(path.as_os_str().as_bytes())?];
        for arg in args {
            words.push(CString::new(*arg)?);
        }
        let env = std::env::vars_os()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
        Ok(Program { words, env: env.collect::<Result<_, _>>()? })
    }

    /// Starts it; its output goes to `out`, if any.
    pub(crate) fn spawn(&self, out: Option<&OwnedFd>) -> Outcome<i32> {
        let mut argv: Vec<*mut libc::c_char> =
            self.words.iter().map(|word| word.as_ptr().cast_mut()).collect();
        argv.push(std::ptr::null_mut());
        let mut envp: Vec<*mut libc::c_char> = self.env.iter().map(|line| line.as_ptr().cast_mut()).collect();
        envp.push(std::ptr::null_mut());
        let mut pid = 0;
        // SAFETY: argv and envp end in null and live through the call; the actions are made, used and destroyed.
        let error = unsafe {
            let mut actions = std::mem::MaybeUninit::uninit();
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            let mut actions = actions.assume_init();
            if let Some(out) = out {
                libc::posix_spawn_file_actions_adddup2(&raw mut actions, out.as_raw_fd(), 1);
            }
            let error = libc::posix_spawn(
                &raw mut pid,
                argv[0],
                &raw const actions,
                std::ptr::null(),
                argv.as_ptr(),
                envp.as_ptr(),
            );
            libc::posix_spawn_file_actions_destroy(&raw mut actions);
            error
        };
        if error == 0 { Ok(pid) } else { Err(std::io::Error::from_raw_os_error(error).into()) }
    }
}

/// Waits for any child, or for one; it must have exited with 0.
pub(crate) fn reap(pid: i32) -> Outcome<i32> {
    let mut status = 0;
    // SAFETY: writes one status.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    match (pid, status) {
        (1.., 0) => Ok(pid),
        (1.., _) => Err(format!("a child ended with status {status}").into()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Two at a time, every status collected.
pub(crate) fn spawn_loop(program: &Program, count: usize) -> Outcome<()> {
    let width = count.min(2);
    for _ in 0..width {
        program.spawn(None)?;
    }
    for begun in width..count + width {
        reap(-1)?;
        if begun < count {
            program.spawn(None)?;
        }
    }
    Ok(())
}

/// Two at a time, output through a pipe, read and kept; gives its bytes.
pub(crate) fn spawn_reading(program: &Program, count: usize) -> Outcome<Vec<Vec<u8>>> {
    let mut under_way = std::collections::VecDeque::new();
    let mut outputs = Vec::new();
    for at in 0..count + 2 {
        if at >= 2
            && let Some((pid, read)) = under_way.pop_front()
        {
            let mut file = std::fs::File::from(read);
            let mut output = Vec::new();
            file.read_to_end(&mut output)?;
            reap(pid)?;
            outputs.push(output);
        }
        if at < count {
            let (read, write) = pipe()?;
            under_way.push_back((program.spawn(Some(&write))?, read));
        }
    }
    Ok(outputs)
}

fn pipe() -> Outcome<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: fills two numbers, which are ours from then on.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}
