//! Dial strings: `tls!host!port`, `tcp!host!port`, `unix!/path`, `ssh!host`.
