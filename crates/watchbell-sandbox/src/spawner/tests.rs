mod args;
mod ceiling;
mod machine;
mod record;
