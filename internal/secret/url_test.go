package secret_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/secret"
)

func TestURLsPrintWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, want string }{
		{"empty", "", ""},
		{"no credentials", "amqp://rabbitmq:5672/", "amqp://rabbitmq:5672/"},
		{"no credentials, no path", "http://rabbitmq:15672", "http://rabbitmq:15672"},
		{"credentials", "amqp://etl:geheim@rabbitmq:5672/shop", "amqp://etl:********@rabbitmq:5672/shop"},
		{"an encoded vhost", "amqp://etl:geheim@rabbitmq/%2Fshop", "amqp://etl:********@rabbitmq/%2Fshop"},
		{"an encoded password", "postgres://etl:ge%40heim@db:5432/cart", "postgres://etl:********@db:5432/cart"},
		{"a user only", "postgres://etl@db/cart", "postgres://etl@db/cart"},
		{"an empty password", "postgres://etl:@db/cart", "postgres://etl:********@db/cart"},
		{"a password only", "redis://:geheim@cache/0", "redis://:********@cache/0"},
		{"IPv6", "postgres://etl:geheim@[::1]:5432/cart", "postgres://etl:********@[::1]:5432/cart"},
		{"several hosts", "mongodb://etl:geheim@a:27017,b:27017,c/shop", "mongodb://etl:********@a:27017,b:27017,c/shop"},
		{"several hosts, no credentials", "mongodb://a:27017,b:27017/shop", "mongodb://a:27017,b:27017/shop"},
		{"several hosts and a password in the query", "mongodb://etl:geheim@a:1,b:2/shop?tlsCertificateKeyFilePassword=geheim", "mongodb://etl:********@a:1,b:2/shop"},
		{"several hosts and a password only in the query", "postgres://a:1,b:2/cart?user=etl&password=geheim", "postgres://a:1,b:2/cart"},
		{"a password in the query", "postgres://db/cart?user=etl&password=geheim&sslmode=disable", "postgres://db/cart"},
		{"a query without a path", "mongodb://db?authSource=geheim", "mongodb://db"},
		{"a fragment", "amqp://rabbitmq/#geheim", "amqp://rabbitmq/"},
		{"an unescaped @ in the password", "amqp://etl:ge@heim@rabbitmq/", "amqp://etl:********@rabbitmq/"},
		{"an unescaped : in the password", "amqp://etl:ge:heim@rabbitmq/", "amqp://etl:********@rabbitmq/"},
		{"an unescaped % in the password", "amqp://etl:ge%heim@rabbitmq/", "amqp://etl:********@rabbitmq/"},
		{"an unescaped blank in the password", "amqp://etl:ge heim@rabbitmq/", "amqp://etl:********@rabbitmq/"},
		{"a line break in the password", "amqp://etl:ge\nheim@rabbitmq/", "amqp://etl:********@rabbitmq/"},
		// From here on it is in doubt what belongs to the password: less is shown.
		{"an unescaped / in the password", "amqp://etl:ge/heim@rabbitmq/", "amqp://********@rabbitmq/"},
		{"an unescaped / behind digits in the password", "amqp://etl:12/geheim@rabbitmq/", "amqp://********@rabbitmq/"},
		{"an unescaped ? behind digits in the password", "amqp://etl:12?geheim@rabbitmq/", "amqp://********"},
		{"an unescaped # behind digits in the password", "amqp://etl:12#geheim@rabbitmq/", "amqp://********"},
		{"an unescaped @ and / in the password", "amqp://etl:ge@he/im@rabbitmq/", "amqp://********@rabbitmq/"},
		{"a password with @ in the query", "postgres://db/cart?password=ge@heim", "postgres://********"},
		{"a password with @ in the query of several hosts", "postgres://a:1,b:2/cart?user=x@y&password=geheim", "postgres://********"},
		{"no host behind the password", "amqp://etl:geheim", "amqp://********"},
		{"no host", "amqp:///geheim", "amqp://********"},
		{"a control character in the host", "amqp://rabbit\nmq/", "amqp://********"},
		{"a DSN", "host=db user=etl password=geheim", "********"},
		{"a DSN with an address in its password", "host=db password=x://y", "********"},
		{"no scheme", "etl:geheim@rabbitmq:5672/", "********"},
		{"only a scheme", "amqp://", "amqp://********"},
		{"scheme of another form", "amqp:etl:geheim@rabbitmq", "********"},
		{"a password alone", "geheim", "********"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := fmt.Sprint(secret.URL(test.url)); got != test.want {
				t.Errorf("prints %q, want %q", got, test.want)
			}
			if out, err := json.Marshal(secret.URL(test.url)); err != nil || strings.Contains(string(out), "heim") {
				t.Errorf("JSON is %s (%v)", out, err)
			}
		})
	}
}

// Whatever characters a password has and wherever it stands, nothing of it shows.
func TestNoPartOfAPasswordShows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// The marker can be in no other part of the address.
		marked := rapid.StringMatching(`[0-9a-z/?#@:%&= \[\]]{0,6}GEHEIM[0-9a-z/?#@:%&= \[\],]{0,6}`).Draw(t, "password")
		host := rapid.SampledFrom([]string{"db", "db:5432", "a:1,b:2", "a,b", "[::1]:7", "[::1]"}).Draw(t, "host")
		path := rapid.SampledFrom([]string{"", "/", "/shop", "/%2F"}).Draw(t, "path")
		var url string
		switch rapid.SampledFrom([]string{"user info", "query", "fragment"}).Draw(t, "place") {
		case "user info":
			url = "mongodb://etl:" + marked + "@" + host + path
		case "query":
			url = "mongodb://etl:x@" + host + path + "?w=1&password=" + marked
		case "fragment":
			url = "mongodb://" + host + path + "#" + marked
		}
		if got := fmt.Sprint(secret.URL(url)); strings.Contains(got, "GEHEIM") {
			t.Fatalf("%s prints %s", url, got)
		}
	})
}
