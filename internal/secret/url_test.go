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
		{"several hosts and a password in the query", "mongodb://etl:geheim@a:1,b:2/shop?tlsCertificateKeyFilePassword=geheim", "mongodb://etl:********@a:1,b:2/shop?tlsCertificateKeyFilePassword=********"},
		{"several hosts and a password only in the query", "postgres://a:1,b:2/cart?user=etl&password=geheim", "postgres://a:1,b:2/cart?user=etl&password=********"},
		{"a password in the query", "postgres://db/cart?user=etl&password=geheim&sslmode=disable", "postgres://db/cart?user=etl&password=********&sslmode=disable"},
		{"a query without a path", "mongodb://db?authSource=admin", "mongodb://db?authSource=admin"},
		{"a fragment", "amqp://rabbitmq/#geheim", "amqp://rabbitmq/#********"},
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

// What is no secret shows as it is, wherever it stands.
func TestCaseE8OptionsOfAURL(t *testing.T) {
	t.Parallel()
	for _, plain := range []string{
		"mongodb://mongo:27017/product?authSource=admin", "mongodb://a:1,b:2/product?replicaSet=rs0&tls=true&tlsCAFile=/etc/ca.pem&tlsCertificateKeyFile=/run/secrets/key.pem",
		"mongodb+srv://cluster.example.com/product?retryWrites=true&w=majority", "postgresql://db:5432/cart?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslkey=/etc/client.key",
		"postgres://db/cart?options=-c%20statement_timeout%3D5s&application_name=etl", "postgres://db/cart?host=a,b&target_session_attrs=read-write",
		"amqp://rabbitmq/%2Fshop?heartbeat=10&frameMax=8192", "amqps://rabbitmq/?cacertfile=/etc/ca.pem", "http://rabbitmq:15672/", "mongodb://db/?", "mongodb://db/?&w=1", "mongodb://db/?appName=",
	} {
		if got := fmt.Sprint(secret.URL(plain)); got != plain {
			t.Errorf("%s prints %s", plain, got)
		}
		with := strings.Replace(plain, "://", "://etl:geheim@", 1)
		if got, want := fmt.Sprint(secret.URL(with)), strings.Replace(plain, "://", "://etl:********@", 1); got != want {
			t.Errorf("%s prints %s, want %s", with, got, want)
		}
	}
	for hidden, want := range map[string]string{
		"postgres://db/cart?password=geheim&application_name=etl":                                  "postgres://db/cart?password=********&application_name=etl",
		"postgres://db/cart?sslpassword=geheim":                                                    "postgres://db/cart?sslpassword=********",
		"postgres://db/cart?PASSWORD=geheim&Sslmode=disable":                                       "postgres://db/cart?PASSWORD=********&Sslmode=disable",
		"postgres://db/cart?pass%77ord=geheim":                                                     "postgres://db/cart?********",
		"postgres://db/cart?password=ge&heim":                                                      "postgres://db/cart?password=********&********",
		"postgres://db/cart?password=x&heim=y&sslmode=disable":                                     "postgres://db/cart?password=********&********&sslmode=disable",
		"postgres://db/cart?options=-c%20password%3Dgeheim":                                        "postgres://db/cart?options=********",
		"postgres://db/cart?user=etl;password=geheim":                                              "postgres://db/cart?user=********",
		"postgres://db/cart?password=":                                                             "postgres://db/cart?password=********",
		"mongodb://db/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:geheim": "mongodb://db/?authMechanism=MONGODB-AWS&authMechanismProperties=********",
		"mongodb://db/?proxyPassword=geheim&proxyHost=p":                                           "mongodb://db/?proxyPassword=********&********",
		"https://db/?api_key=geheim":                                                               "https://db/?api_key=********",
		"https://db/?access_token=geheim":                                                          "https://db/?access_token=********",
		"mongodb://db/?w=1#geheim":                                                                 "mongodb://db/?w=1#********",
	} {
		if got := fmt.Sprint(secret.URL(hidden)); got != want {
			t.Errorf("%s prints %s, want %s", hidden, got, want)
		}
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

func TestWebhooksPrintWithTheirHostAlone(t *testing.T) {
	t.Parallel()
	for hook, want := range map[secret.Hook]string{
		"": "", "https://hooks.chat.example/services/T0/hush": "https://hooks.chat.example/********", "http://127.0.0.1:8080": "http://127.0.0.1:8080/********",
		"https://hooks.chat.example?token=hush": "https://hooks.chat.example/********", "https://me:hush@chat.example/x": "********", "hooks.chat.example/hush": "********", "ftp://a/hush": "********",
	} {
		if got := fmt.Sprint(hook); got != want || hook.Reveal() != string(hook) {
			t.Errorf("%q prints as %q, want %q", hook.Reveal(), got, want)
		}
	}
}
