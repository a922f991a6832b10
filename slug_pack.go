package herokubuild

import "context"

// packSlug packs a directory as the archive of a slug: under ./app, and with what
// git ignores, since that is where compilers put what they make.
func packSlug(ctx context.Context, dir, tempDir string) (*Archive, error) {
	return PackDir(ctx, dir, &PackOptions{Prefix: "./app", Include: []string{"*"}, TempDir: tempDir})
}
