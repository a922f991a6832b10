package sourcetree

import (
	"errors"
	"io/fs"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// ErrChanged reports that a file disappeared, or changed its type or size, while
// it was read.
var ErrChanged = errors.New("changed while it was read")

// InputError reports that something the caller named cannot be packed: an
// argument, an option, or a file of the tree.
type InputError struct {
	// Field is the argument or option: "dir", "fsys", "Include", "Exclude" or
	// "Prefix".
	Field string
	// Reason says what is wrong. It has the text of the cause.
	Reason string
	// Err is the cause, nil if there is none.
	Err error
}

// Error implements error.
func (e *InputError) Error() string { return clean.Line(e.Field + ": " + e.Reason) }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// inputError returns an [*InputError] with the text of its cause.
func inputError(field, reason string, err error) *InputError {
	cause := err
	if path, ok := err.(*fs.PathError); ok { //nolint:errorlint // Only the error itself: the reason has its path.
		cause = path.Err
	}
	return &InputError{Field: field, Reason: reason + ": " + clean.Line(cause.Error()), Err: err}
}
