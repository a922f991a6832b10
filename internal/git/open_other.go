//go:build !unix

package git

const (
	// openFlags keep an open from blocking on a pipe.
	openFlags = 0
	// noFollow makes opening a symbolic link an error.
	noFollow = 0
)

func notADirectory(error) bool { return false }
