mod args;
mod ceiling;
mod links;
mod machine;
mod record;
mod table_file;
