//! What two nodes say to each other on a link, as a state machine: both ask, both answer.
