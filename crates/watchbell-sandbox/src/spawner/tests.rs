mod args;
mod ceiling;
mod links;
mod machine;
mod record;
mod sessions;
mod table_file;
