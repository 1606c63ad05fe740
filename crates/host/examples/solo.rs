//! A node without a keeper, in the foreground: `solo STATE [MOUNT]`. Programs end with it.

use host::{Local, Node, Settings};

fn main() -> Result<(), String> {
    let mut args = std::env::args_os().skip(1);
    let state: std::path::PathBuf = args.next().ok_or("usage: solo STATE [MOUNT]")?.into();
    let config = provide::process::Config { state: state.clone(), node: host::host_name(), keeper: None };
    let processes = provide::process::Processes::new(config).map_err(|e| e.to_string())?;
    let settings = Settings {
        mount: args.next().map(Into::into),
        env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec()],
        ..Settings::new(host::host_name(), state)
    };
    let mut node = Node::open(settings, Local { processes, keeper: Vec::new(), alone: true })?;
    node.run().map(|_| ())
}
