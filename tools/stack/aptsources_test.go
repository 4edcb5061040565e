package stack

import (
	"os"
	"path/filepath"
	"testing"
)

// writeFiles makes a folder with files in it, by their relative paths.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDebianMirror(t *testing.T) {
	t.Parallel()
	mirrors := writeFiles(t, map[string]string{"debian.list": "# cloud image\nhttp://cloud.example/debian\tpriority:1\n"})
	tests := map[string]struct {
		files map[string]string
		want  mirror
	}{
		"stanzas": {
			files: map[string]string{"sources.list.d/debian.sources": `Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`},
			want: mirror{"http://mirror.example/debian", "/usr/share/keyrings/debian.gpg"},
		},
		"a third party's source comes first": {
			files: map[string]string{
				"sources.list.d/a.list":    "deb https://third.example/apt tool-bookworm main\n",
				"sources.list.d/a.sources": "Types: deb\nURIs: https://third.example\nSuites: nodistro\nComponents: main\n",
				"sources.list.d/b.sources": "Types: deb deb-src\nURIs: https://mirror.example/debian\nSuites: bookworm\nComponents: contrib main\n",
			},
			want: mirror{uri: "https://mirror.example/debian"},
		},
		"security is not the main archive": {
			files: map[string]string{
				"sources.list": "deb http://security.example/debian-security bookworm-security main\ndeb http://mirror.example/debian/ bookworm main # ours\n",
			},
			want: mirror{uri: "http://mirror.example/debian/"},
		},
		"options of a line": {
			files: map[string]string{
				"sources.list": "# deb http://old.example bookworm main\ndeb [ arch=amd64 signed-by=/keys/k.gpg ] http://mirror.example/debian bookworm main\n",
			},
			want: mirror{"http://mirror.example/debian", "/keys/k.gpg"},
		},
		"switched off, then on": {
			files: map[string]string{
				"sources.list.d/a.sources": "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs:\n http://on.example\nSuites: stable\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n",
			},
			want: mirror{uri: "http://on.example"},
		},
		"list of mirrors": {
			files: map[string]string{
				"sources.list.d/a.sources": "Types: deb\nURIs: mirror+file:" + filepath.Join(mirrors, "debian.list") + "\nSuites: bookworm\nComponents: main\n",
			},
			want: mirror{uri: "http://cloud.example/debian"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := debianMirror(writeFiles(t, test.files), "bookworm")
			if err != nil || got != test.want {
				t.Errorf("debianMirror = %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestDebianMirrorMissing(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"sources.list": "deb cdrom:[disk]/ bookworm main\ndeb-src http://mirror.example/debian bookworm main\ndeb\n"})
	if got, err := debianMirror(dir, "bookworm"); err == nil {
		t.Errorf("debianMirror = %+v, want an error", got)
	}
}

func TestOSRelease(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"os-release": "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_CODENAME=\"bookworm\"\n"})
	id, codename, err := osRelease(filepath.Join(dir, "os-release"))
	if err != nil || id != "debian" || codename != "bookworm" {
		t.Errorf("osRelease = %q, %q, %v", id, codename, err)
	}
}

func TestPackageVersion(t *testing.T) {
	t.Parallel()
	root := writeFiles(t, map[string]string{"var/lib/dpkg/status": `Package: postgresql-15-old
Status: install ok installed
Version: 0

Package: postgresql-15
Status: deinstall ok config-files
Version: 1

Package: rabbitmq-server
Status: install ok installed
Maintainer: nobody
Version: 1:4.3.6-1+deb12u1
`})
	version, err := packageVersion(root, "rabbitmq-server")
	if err != nil || upstream(version) != "4.3.6" {
		t.Errorf("packageVersion = %q, %v", version, err)
	}
	if version, err := packageVersion(root, "postgresql-15"); err == nil {
		t.Errorf("packageVersion of a removed package = %q, want an error", version)
	}
}
