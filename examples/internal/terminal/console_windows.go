package terminal

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// styled reports whether w supports escape sequences for styled text. On Windows
// consoles they must be enabled, and the oldest do not support them.
func styled(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true
	}
	console := windows.Handle(f.Fd())
	var mode uint32
	return windows.GetConsoleMode(console, &mode) != nil || // not a Windows console
		windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
