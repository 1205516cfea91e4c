# What a Windows instance does when it boots; see boot-linux.sh. Its image must bring Python with boto3 and the AWS tools
# for PowerShell, and a user spotbed-job. Not tested on Windows.
$ErrorActionPreference = 'Stop'
$folder = 'C:\ProgramData\spotbed'
New-Item -ItemType Directory -Force -Path $folder, $WORK_DIRECTORY | Out-Null
Read-S3Object -Region $REGION -BucketName $CODE_BUCKET -Key $WRAPPER_KEY -File "$folder\wrapper.py" | Out-Null
@{
  jobs_table = "$SCHEDULER-jobs"; region = $REGION; bucket = $BUCKET; prefix = 'spotbed/'; lease_ms = [int]$LEASE_MS
  deliver_function = "$($SCHEDULER)-deliver:live"; work_root = $WORK_DIRECTORY
} | ConvertTo-Json | ForEach-Object { [IO.File]::WriteAllText("$folder\config.json", $_) }
if (Test-Path "$folder\boot.ps1") { & "$folder\boot.ps1" }
while ((Get-Service AmazonSSMAgent).Status -ne 'Running') { Start-Sleep -Seconds 1 }
$token = Invoke-RestMethod -Method Put -Headers @{'X-aws-ec2-metadata-token-ttl-seconds' = '300'} -Uri http://169.254.169.254/latest/api/token
$instance = Invoke-RestMethod -Headers @{'X-aws-ec2-metadata-token' = $token} -Uri http://169.254.169.254/latest/meta-data/instance-id
foreach ($pause in 1, 2, 4, 8, 16, 32, 60, 60) {
  $at = [DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds()
  $ready = "{""worker"": ""$instance"", ""id"": ""$instance/ready"", ""event"": {""v"": 1, ""is"": ""Ready"", ""at_ms"": $at}}"
  try {
    $answer = Invoke-LMFunction -Region $REGION -FunctionName "$($SCHEDULER)-deliver:live" -Payload $ready
    if (-not $answer.FunctionError) { exit 0 }
  } catch { Write-Output $_ }
  Start-Sleep -Seconds $pause
}
exit 1
