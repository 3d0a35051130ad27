/* An executor that costs little itself: says of the first task that it is given that it runs, and
 * sleeps. By Mesos' v1 executor API, in JSON without spaces, as the agent writes it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static char ids[1024]; /* of framework and executor, as JSON */

static int post(const char *body)
{
	const char *endpoint = getenv("MESOS_AGENT_ENDPOINT");
	char host[64] = "", head[512];
	int port = 0, link = socket(AF_INET, SOCK_STREAM, 0);
	if (!endpoint || sscanf(endpoint, "%63[^:]:%d", host, &port) != 2)
		exit(2);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (!inet_pton(AF_INET, host, &address.sin_addr) ||
	    connect(link, (struct sockaddr *)&address, sizeof address) < 0)
		exit(3);
	int n = snprintf(head, sizeof head,
			 "POST /api/v1/executor HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
			 "Accept: application/json\r\nContent-Length: %zu\r\n\r\n",
			 endpoint, strlen(body));
	if (write(link, head, n) != n || write(link, body, strlen(body)) != (ssize_t)strlen(body))
		exit(4);
	return link;
}

int main(void)
{
	static char body[4096], events[1 << 18];
	snprintf(ids, sizeof ids, "\"framework_id\":{\"value\":\"%s\"},\"executor_id\":{\"value\":\"%s\"}",
		 getenv("MESOS_FRAMEWORK_ID"), getenv("MESOS_EXECUTOR_ID"));
	snprintf(body, sizeof body,
		 "{\"type\":\"SUBSCRIBE\",%s,\"subscribe\":{\"unacknowledged_tasks\":[],"
		 "\"unacknowledged_updates\":[]}}",
		 ids);
	int stream = post(body);
	size_t n_read = 0;
	char *launch = NULL, *task = NULL;
	while (!task || !strchr(task, '}')) {
		ssize_t n = read(stream, events + n_read, sizeof events - 1 - n_read);
		if (n <= 0)
			exit(5);
		events[n_read += n] = 0;
		launch = strstr(events, "\"type\":\"LAUNCH\"");
		task = launch ? strstr(launch, "\"task_id\":{\"value\":\"") : NULL;
	}
	task += strlen("\"task_id\":{\"value\":\"");
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char uuid[25] = "";
	unsigned char random[22];
	if (getrandom(random, sizeof random, 0) < 0)
		exit(6);
	for (int i = 0; i < 21; i++)
		uuid[i] = digits[random[i] % 64];
	strcpy(uuid + 21, "A=="); /* of 16 bytes the last digit has but two bits */
	snprintf(body, sizeof body,
		 "{\"type\":\"UPDATE\",%s,\"update\":{\"status\":{\"task_id\":{\"value\":\"%.*s\"},"
		 "\"state\":\"TASK_RUNNING\",\"source\":\"SOURCE_EXECUTOR\",\"uuid\":\"%s\"}}}",
		 ids, (int)strcspn(task, "\""), task, uuid);
	post(body);
	for (;;)
		pause();
}
