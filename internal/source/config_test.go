package source

import (
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/secret"
)

func TestCredentialsAndAuthenticationDatabase(t *testing.T) {
	t.Parallel()
	const password = `p@ss:/?#[]%25+ ü"`
	for _, tt := range []struct {
		name           string
		url            string
		user, password string // MONGO_USER, MONGO_PASSWORD
		database       string // PRODUCT_DATABASE

		wantUser, wantPassword, wantSource, wantDatabase string
	}{
		{"the path's database", "mongodb://mongo/shop", "etl", password, "", "etl", password, "shop", "shop"},
		{"the URL's option", "mongodb://mongo/shop?authSource=users", "etl", password, "", "etl", password, "users", "shop"},
		{"the URL's option without a path", "mongodb://mongo/?authSource=users", "etl", password, "shop", "etl", password, "users", "shop"},
		{"admin", "mongodb://mongo", "etl", password, "shop", "etl", password, "admin", "shop"},
		{"admin with a slash", "mongodb://mongo:27017/", "etl", password, "shop", "etl", password, "admin", "shop"},
		{"another database than the path's", "mongodb://mongo/shop", "etl", password, "archive", "etl", password, "shop", "archive"},
		{"several hosts", "mongodb://a:1,b:2/shop?replicaSet=rs0", "etl", password, "", "etl", password, "shop", "shop"},
		{"a mechanism", "mongodb://mongo/shop?authMechanism=SCRAM-SHA-256", "etl", password, "", "etl", password, "shop", "shop"},
		{"variables win", "mongodb://other:secret@mongo/shop", "etl", password, "", "etl", password, "shop", "shop"},
		{"variables win over the URL's option too", "mongodb://other:secret@mongo/shop?authSource=users", "etl", password, "", "etl", password, "users", "shop"},
		{"user name that needs escapes", "mongodb://mongo/shop", "e@t:l/", password, "", "e@t:l/", password, "shop", "shop"},
		{"the URL's credentials", "mongodb://other:s%40cret@mongo/shop", "", "", "", "other", "s@cret", "shop", "shop"},
		{"the URL's credentials, admin", "mongodb://other:secret@mongo", "", "", "shop", "other", "secret", "admin", "shop"},
		{"the URL's credentials and option", "mongodb://other:secret@mongo/shop?authSource=users", "", "", "", "other", "secret", "users", "shop"},
		{"the URL's user and the variable's password", "mongodb://other@mongo/shop", "", password, "", "other", password, "shop", "shop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := Config{URL: secret.URL(tt.url), User: tt.user, Password: secret.Text(tt.password), Database: tt.database, Collection: "products"}
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			opts, database, err := config.clientOptions()
			if err != nil {
				t.Fatal(err)
			}
			if opts.Auth == nil {
				t.Fatal("the driver has no credentials")
			}
			if got := opts.Auth.Username; got != tt.wantUser {
				t.Errorf("user is %q, want %q", got, tt.wantUser)
			}
			if got := opts.Auth.Password; got != tt.wantPassword || !opts.Auth.PasswordSet {
				t.Errorf("password is %q (set %t), want %q", got, opts.Auth.PasswordSet, tt.wantPassword)
			}
			if got := opts.Auth.AuthSource; got != tt.wantSource {
				t.Errorf("authentication database is %q, want %q", got, tt.wantSource)
			}
			if database != tt.wantDatabase {
				t.Errorf("database is %q, want %q", database, tt.wantDatabase)
			}
		})
	}
}

func TestHostsSurviveTheCredentials(t *testing.T) {
	t.Parallel()
	config := Config{URL: "mongodb://other:secret@a:1,b:2/shop?replicaSet=rs0", User: "etl", Password: "x", Collection: "products"}
	opts, _, err := config.clientOptions()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(opts.Hosts, " "); got != "a:1 b:2" || opts.ReplicaSet == nil || *opts.ReplicaSet != "rs0" {
		t.Errorf("the driver looks at %s, replica set %v", got, opts.ReplicaSet)
	}
}

func TestServerSelectionIsBounded(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"mongodb://u:p@mongo/shop":                                 "8s",
		"mongodb://u:p@mongo/shop?serverSelectionTimeoutMS=123000": "2m3s",
	} {
		opts, _, err := (&Config{URL: secret.URL(url), Collection: "products"}).clientOptions()
		if err != nil {
			t.Fatal(err)
		}
		if got := opts.ServerSelectionTimeout; got == nil || got.String() != want {
			t.Errorf("%s waits %v for a server, want %s", url, got, want)
		}
	}
}

func TestValidateNamesTheVariable(t *testing.T) {
	t.Parallel()
	valid := Config{URL: "mongodb://mongo/shop", User: "etl", Password: "hunter2", Collection: "products"}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   []string // one line each, which begins with it
	}{
		{"valid", func(*Config) {}, nil},
		{"no URL", func(c *Config) { c.URL = "" }, []string{"PRODUCT_SERVICE_MONGODB_URL is required"}},
		{"nothing", func(c *Config) { *c = Config{} }, []string{
			"PRODUCT_SERVICE_MONGODB_URL is required", "MONGO_USER is required", "MONGO_PASSWORD is required", "PRODUCT_COLLECTION is empty"}},
		{"no user", func(c *Config) { c.User = "" }, []string{"MONGO_USER is required"}},
		{"no password", func(c *Config) { c.Password = "" }, []string{"MONGO_PASSWORD is required"}},
		{"user without a password of its own", func(c *Config) {
			c.URL, c.Password = "mongodb://other:hunter2@mongo/shop", ""
		}, []string{"MONGO_PASSWORD is required"}},
		{"user in the URL without a password", func(c *Config) {
			c.URL, c.User, c.Password = "mongodb://other@mongo/shop", "", ""
		}, []string{"MONGO_PASSWORD is required"}},
		{"no database", func(c *Config) { c.URL = "mongodb://mongo" }, []string{"PRODUCT_SERVICE_MONGODB_URL names no database"}},
		{"no collection", func(c *Config) { c.Collection = "" }, []string{"PRODUCT_COLLECTION is empty"}},
		{"another scheme", func(c *Config) { c.URL = "postgres://etl:hunter2@mongo/shop" },
			[]string{"PRODUCT_SERVICE_MONGODB_URL must begin with mongodb://"}},
		{"no host", func(c *Config) { c.URL = "mongodb:///shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"bad option", func(c *Config) { c.URL = "mongodb://mongo/shop?maxPoolSize=many" },
			[]string{"PRODUCT_SERVICE_MONGODB_URL mongodb://mongo/shop?maxPoolSize=many is not a valid MongoDB URL: error parsing uri: invalid value for \"maxPoolSize\""}},
		{"contrary options", func(c *Config) { c.URL = "mongodb://mongo/shop?directConnection=true&loadBalanced=true" },
			[]string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"slash in the password", func(c *Config) { c.URL = "mongodb://etl:hunter2/@mongo/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"colon in the password", func(c *Config) { c.URL = "mongodb://etl::hunter2@mongo/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"percent in the password", func(c *Config) { c.URL = "mongodb://etl:%hunter2@mongo/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"at sign in the password", func(c *Config) { c.URL = "mongodb://etl:hunter2@@mongo/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"no at sign", func(c *Config) { c.URL = "mongodb://etl:hunter2/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"no at sign, percent", func(c *Config) { c.URL = "mongodb://etl:%hunter2/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"port out of range", func(c *Config) { c.URL = "mongodb://etl:hunter2@mongo:99999/shop" }, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
		{"password option", func(c *Config) {
			c.URL = "mongodb://mongo/shop?tls=perhaps&tlsCertificateKeyFilePassword=hunter2"
		}, []string{"PRODUCT_SERVICE_MONGODB_URL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := valid
			tt.change(&config)
			err := config.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("no error, want %q", tt.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d: %q", len(lines), len(tt.want), lines)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d is %q, want %q first", i, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message tells the password: %v", err)
			}
			source, err := Open(config)
			if err == nil {
				_ = source.Close(t.Context()) // it connects to nothing before its first read
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message of Open tells the password: %v", err)
			}
		})
	}
}
