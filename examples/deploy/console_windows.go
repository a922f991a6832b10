package main

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// styled reports whether w shows text that is styled by escape sequences.
// Consoles of Windows do if they are told to, and the oldest do not at all.
func styled(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true
	}
	console := windows.Handle(f.Fd())
	var mode uint32
	return windows.GetConsoleMode(console, &mode) != nil || // a terminal of another kind
		windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
