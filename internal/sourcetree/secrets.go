package sourcetree

import (
	"bytes"
	"io"
	"path"
	"slices"
	"strings"
)

// secrecy is how likely a file contains secrets, judged by its name.
type secrecy uint8

const (
	secretNo secrecy = iota
	secretYes
	// secretKey: it is a private key.
	secretKey
	// secretMaybeKey: it is a private key or a public certificate.
	secretMaybeKey
)

// judgeName judges a file by its name.
func judgeName(name string) secrecy {
	name = strings.ToLower(path.Base(name))
	switch name {
	case "master.key":
		return secretKey
	case ".env", ".netrc", "_netrc", ".pgpass", ".git-credentials", ".htpasswd", ".pypirc",
		"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519":
		return secretYes
	}
	if environment, ok := strings.CutPrefix(name, ".env."); ok {
		examples := []string{"example", "sample", "template", "dist", "defaults", "schema"}
		if slices.Contains(examples, environment) {
			return secretNo
		}
		return secretYes
	}
	switch path.Ext(name) {
	case ".p12", ".pfx", ".ppk", ".jks", ".keystore":
		return secretYes
	case ".pem", ".key":
		return secretMaybeKey
	}
	return secretNo
}

// secret returns the warning about a file that should probably not be packed, empty
// for any other.
func (w *walk) secret(e *Entry) string {
	if e.Link != "" || e.Size == 0 {
		return ""
	}
	const advice = ": exclude it (.gitignore, .slugignore or Exclude) and use config vars"
	switch judged := judgeName(e.Path); {
	case judged == secretYes:
		return "probably contains secrets" + advice
	case judged == secretKey, judged == secretMaybeKey && w.hasPrivateKey(e):
		return "is a private key" + advice
	}
	return ""
}

// keySearch is how much of a file is searched for a private key.
const keySearch = 8 << 10

func (w *walk) hasPrivateKey(e *Entry) bool {
	f, err := w.open(e)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	start, _ := io.ReadAll(io.LimitReader(f, keySearch))
	return bytes.Contains(start, []byte("PRIVATE KEY-----"))
}
