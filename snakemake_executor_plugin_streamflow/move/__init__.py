"""Bytes between filesystems: what is listed, streamed, verified and put in place under its final name.

The policy for symbolic links. A path that is itself a link is followed: its content travels. Inside a directory,
a link whose target is in the same directory stays a link (made relative); one to a file outside becomes that file; one
to a directory outside is an error that names it; a dangling one stays as it is. Hard links become separate files.
Pipes, sockets and devices are errors.
"""
