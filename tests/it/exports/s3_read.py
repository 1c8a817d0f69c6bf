"""Says as JSON what is in a bucket, as Amazon's own client sees it: each version of each object, and what becomes of the wish to delete it.

    s3_read.py HOME PORT BUCKET [KEY TEXT]

With a key, it puts an object there that is none of ours.
"""

import base64, hashlib, json, os, sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

home, port, bucket, *put = sys.argv[1:]
key = json.load(open(os.path.join(home, "keys.json")))["archiver"]
authority = os.path.join(home, "authority.crt")
is_tls = os.path.exists(authority)
s3 = boto3.client(
    "s3",
    endpoint_url=("https" if is_tls else "http") + "://127.0.0.1:" + port,
    verify=authority if is_tls else None,
    region_name="us-east-1",
    aws_access_key_id=key["id"],
    aws_secret_access_key=key["secret"],
    config=Config(s3={"addressing_style": "path", "payload_signing_enabled": True}, retries={"max_attempts": 1}),
)
if put:
    body = put[1].encode()
    digest = lambda kind: base64.b64encode(hashlib.new(kind, body).digest()).decode()
    s3.put_object(Bucket=bucket, Key=put[0], Body=body, ContentMD5=digest("md5"), ChecksumSHA256=digest("sha256"))
objects = []
for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
    assert not page.get("DeleteMarkers"), page
    for version in page.get("Versions", []):
        at = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
        found = s3.get_object(**at)
        try:
            s3.delete_object(**at)
            deleted = "deleted"
        except ClientError as error:
            deleted = error.response["Error"]["Code"]
        until = found.get("ObjectLockRetainUntilDate")
        objects.append(
            {
                "key": version["Key"],
                "sha256": hashlib.sha256(found["Body"].read()).hexdigest(),
                "beside": found["Metadata"].get("sha256"),
                "mode": found.get("ObjectLockMode"),
                "days": until and (until - found["LastModified"]).total_seconds() / 86400,
                "hold": found.get("ObjectLockLegalHoldStatus"),
                "deleting": deleted,
            }
        )
uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
print(json.dumps({"objects": objects, "uploads": len(uploads)}))
